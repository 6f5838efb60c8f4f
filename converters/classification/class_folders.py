"""Scenes in class folders: the base of the sources whose only annotation is the folder's name.

A source states where its class folders usually lie and how its files are named; all else is in its facts. Mirrors hold
the same images as Parquet tables, which are read where there are no class folders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

from converters.base import Converter
from converters.catalog import Counts
from converters.formats.folders import (
    SPLIT_WORDS,
    folders_of_splits,
    has_class_folders,
    normal_form,
    read_class_folders,
    split_of_word,
)
from converters.layout import Problem, last_parts, layout_error, locate_parts
from converters.mirrors.class_tables import ClassNames, read_class_tables
from converters.mirrors.tables import locate_tables
from converters.splits import SeededSplit
from mmrs.errors import BadItem, UserError
from mmrs.imaging.suffixes import SOURCE_SUFFIXES
from mmrs.record import Annotations, Provenance
from mmrs.source import Discovery, Item, RowImage, ensure_unique_stems

# In the place of a split: class folders or tables that hold all splits together.
ALL_SPLITS = ""
SPLIT_TAKEN = "the split was taken from"


@dataclass(frozen=True, slots=True)
class LocatedClasses:
    """Folders of class folders, or tables, by split; or all under `ALL_SPLITS`. They lie in the folder `inside`.

    `problems` are parts of the tables that are not there.
    """

    parts: dict[str, tuple[Path, ...]]
    inside: Path
    notes: tuple[str, ...]
    are_tables: bool = False
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class ClassMembers:
    """Items by label, in the order of the labels; `notes` and `problems` as those of a discovery."""

    items: Mapping[str, Sequence[Item]]
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class ClassFolders(Converter):
    """All images of all class folders.

    Class attributes of a source: `places`, folders below the root that usually hold the class folders, best first (the
    root itself is always tried last); `suffixes` of its images; `named_by_class`, whether every file name starts with
    its class, which is then checked (names of other sources get their class folder's in front, as they may repeat);
    `named_parts`, how many folders of the image's path provenance names; `joined_by_name`, other sources that show the
    same images under the same names.
    """

    places: ClassVar[tuple[str, ...]] = ()
    suffixes: ClassVar[frozenset[str]] = SOURCE_SUFFIXES
    named_by_class: ClassVar[bool] = False
    named_parts: ClassVar[int] = 1
    joined_by_name: ClassVar[str] = ""

    def form(self, name: str) -> str:
        """Form under which a folder's name and a label are equal."""
        return normal_form(name)

    def prefix(self, label: str) -> str:
        """Normal form of what file names of the class start with, before their number."""
        return normal_form(label)

    def layout(self) -> tuple[tuple[str, ...], frozenset[str]]:
        """`places` and `suffixes`; a source whose options change them says so here."""
        return self.places, self.suffixes

    def expected(self) -> tuple[str, ...]:
        """The layouts that are looked for, in words."""
        return tuple(self.facts.layouts.values())

    def choose(self, items: Sequence[Item], split: str) -> Sequence[Item]:
        """The images of one class that belong to `split`: all of them where there is one split only."""
        return items

    def takes_splits(self) -> bool:
        """Whether the splits that folders or tables are named by are those of the source."""
        return len(self.splits) > 1

    def splits_in(self, root: Path) -> Sequence[str]:
        """The splits of folders or tables where the images are sorted into such, else those of the source."""
        if not self.takes_splits():
            return self.splits
        try:
            parts = self.locate(root).parts
        except UserError:
            return self.splits
        return self.splits if ALL_SPLITS in parts else tuple(parts)

    def published_found(self, split: str, found: Discovery) -> Counts:
        """Nothing is published of splits that users or other projects made."""
        is_users = any(note.startswith(SPLIT_TAKEN) for note in found.notes)
        return Counts() if is_users else super().published_found(split, found)

    def discover(self, root: Path, split: str) -> Discovery:
        """List the split's images; an image whose name says another class than its folder is a problem."""
        self.check_split(split, root)
        located = self.locate(root)
        given = ALL_SPLITS not in located.parts and self.takes_splits()
        paths = located.parts[split] if given else tuple(path for same in located.parts.values() for path in same)
        found = self._in_tables(root, located, paths) if located.are_tables else self._in_folders(located, paths)
        items = [item for same in found.items.values() for item in (same if given else self.choose(same, split))]
        unique, repeats = ensure_unique_stems(sorted(items, key=lambda item: item.stem))
        notes = (*located.notes, *self._split_notes(located, paths, split), *found.notes)
        consulted = frozenset(paths if located.are_tables else ())
        own, shared = (*found.problems, *repeats), located.problems
        if not given:
            own, shared = repeats, (*located.problems, *found.problems)
        return Discovery(unique, notes, own, shared_problems=shared, consulted=consulted)

    def read(self, item: Item) -> Annotations:
        """The category's display form as label, beside the source's spelling."""
        label = item.payload["label"]
        if label not in self.facts.classes:
            raise BadItem(f"unknown class {label!r}", str(item.image))
        return Annotations(
            label=self.facts.classes[label],
            source_label=label,
            provenance=Provenance(annotation=self._place(item.image), original_id=item.image.name),
        )

    def _place(self, image: Path | RowImage) -> str:
        """What said the class: the image's folder, or its table."""
        if isinstance(image, RowImage):
            return last_parts(image.file, 2)
        return last_parts(image.parent, self.named_parts)

    def locate(self, root: Path) -> LocatedClasses:
        """Where the class folders lie, or else the tables. Raises `UserError`."""
        usual, _ = self.layout()
        tops = {PurePosixPath(folder).parts[0] for folder in usual}
        expected = self.expected()
        try:
            bases, notes = locate_parts(self.name, root, lambda folder: bool(self._folders(folder)), tops, expected)
        except UserError:
            if (tables := self._locate_tables(root)) is None:
                raise
            return tables
        found: dict[str, tuple[Path, ...]] = {}
        for base in bases:
            for split, folders in self._folders(base).items():
                found[split] = (*found.get(split, ()), *folders)
        ordered = {split: found[split] for split in (ALL_SPLITS, *SPLIT_WORDS) if split in found}
        return LocatedClasses(ordered, bases[0] if len(bases) == 1 else root, notes)

    def _locate_tables(self, root: Path) -> LocatedClasses | None:
        """Tables of a mirror, None where there are none; a single word that names no split is all of them."""
        located = locate_tables(self.name, root, self.expected())
        if located is None:
            return None
        inside, found = located
        parts: dict[str, tuple[Path, ...]] = {}
        for word, tables in found.by_word.items():
            split = split_of_word(word) or ALL_SPLITS
            parts[split] = (*parts.get(split, ()), *tables)
        if ALL_SPLITS in parts and len(parts) > 1 and self.takes_splits():
            listed = ", ".join(word for word in found.by_word if split_of_word(word) is None)
            reason = f"has tables by split beside others that name none ({listed})"
            raise layout_error(self.name, root, reason, self.expected())
        ordered = {split: parts[split] for split in (ALL_SPLITS, *SPLIT_WORDS) if split in parts}
        return LocatedClasses(ordered, inside, (), are_tables=True, problems=found.problems)

    def _folders(self, root: Path) -> dict[str, tuple[Path, ...]]:
        """Folders of class folders at the first usual place that has any: of the whole set, else by split."""
        usual, suffixes = self.layout()

        def has_classes(folder: Path) -> bool:
            return has_class_folders(folder, tuple(self.facts.classes), suffixes, self.form)

        places = [root / folder for folder in (*usual, "")]
        for place in places:
            if has_classes(place):
                return {ALL_SPLITS: (place,)}
        for place in places:
            by_split = {
                split: same
                for split, folders in folders_of_splits(place).items()
                if (same := tuple(folder for folder in folders if has_classes(folder)))
            }
            if by_split:
                return by_split
        return {}

    def _in_folders(self, located: LocatedClasses, folders: Sequence[Path]) -> ClassMembers:
        _, suffixes = self.layout()
        found = read_class_folders(folders, located.inside, tuple(self.facts.classes), suffixes, self.form)
        problems = list(found.problems)
        items = {}
        for label, paths in found.images.items():
            placed, misplaced = self._placed(label, paths)
            problems += misplaced
            items[label] = [Item(self._stem(path), path, (), {"label": label}) for path in placed]
        return ClassMembers(items, (), tuple(problems))

    def _in_tables(self, root: Path, located: LocatedClasses, tables: Sequence[Path]) -> ClassMembers:
        _, suffixes = self.layout()
        labels = tuple(self.facts.classes)
        names = ClassNames(
            source=self.name,
            labels=labels,
            form=self.form,
            prefixes={label: self.prefix(label) for label in labels} if self.named_by_class else {},
            suffixes=suffixes,
            expected=self.expected(),
            joined_by_name=self.joined_by_name,
        )
        found = read_class_tables(root, located.inside, tables, names)
        return ClassMembers(found.items, found.notes, found.problems)

    def _split_notes(self, located: LocatedClasses, paths: Sequence[Path], split: str) -> tuple[str, ...]:
        """Which folders or tables said the split, where any are named by one."""
        if ALL_SPLITS in located.parts:
            return ()
        listed = ", ".join(map(str, paths))
        if not self.takes_splits():
            return (f"{listed} were read together: they are not taken for splits",)
        what = "table" if located.are_tables else "folder"
        notes: tuple[str, ...] = (f"{SPLIT_TAKEN} the {what} {listed}, not cut by the seeded rule",)
        if tuple(located.parts) == ("train",):
            notes += (f"there is no other split than {split}, so nothing is held out",)
        return notes

    def _stem(self, path: Path) -> str:
        """The item's stem: the file's, with its class folder's form in front where file names may repeat."""
        return path.stem if self.named_by_class else f"{self.form(path.parent.name)}-{path.stem}"

    def _placed(self, label: str, paths: Sequence[Path]) -> tuple[Sequence[Path], list[Problem]]:
        if not self.named_by_class:
            return paths, []
        placed: list[Path] = []
        misplaced: list[Problem] = []
        for path in paths:
            if normal_form(path.stem).rstrip("0123456789") == self.prefix(label):
                placed.append(path)
            else:
                misplaced.append((str(path), f"file name says another class than its folder {path.parent.name!r}"))
        return placed, misplaced


@dataclass(frozen=True)
class SeededClassFolders(ClassFolders, SeededSplit):
    """Class folders without an official split: each class is cut by the seeded rule of `converters.splits`.

    Class folders that a user has sorted into ``train``, ``val`` and ``test``, and tables of such names, keep these
    splits, and a note says so.
    """

    finding_options: ClassVar[frozenset[str]] = frozenset({"given_splits"})

    given_splits: bool = True
    """Whether folders, tables or lists that say a split are taken at their word; false: the seeded rule cuts all."""

    def takes_splits(self) -> bool:
        """As the option says."""
        return self.given_splits

    def choose(self, items: Sequence[Item], split: str) -> Sequence[Item]:
        """The images of one class that belong to `split`, by their stems."""
        return self.part(items, lambda item: item.stem, split)
