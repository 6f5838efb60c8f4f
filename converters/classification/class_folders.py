"""Scenes in class folders: the base of the sources whose only annotation is the folder's name.

A source states where its class folders usually lie and how its files are named; all else is in its facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
)
from converters.formats.shared_file import read_shared
from converters.formats.split_lists import read_ids
from converters.layout import Problem, last_parts, locate_parts
from converters.splits import SeededSplit
from mmrs.errors import BadItem, UserError
from mmrs.imaging.suffixes import SOURCE_SUFFIXES, without_known_suffix
from mmrs.record import Annotations, Provenance
from mmrs.source import Absent, Discovery, Item, ensure_unique_stems

# In the place of a split: class folders that hold all splits together.
ALL_SPLITS = ""
SPLIT_TAKEN = "the split was taken from"


@dataclass(frozen=True, slots=True)
class LocatedFolders:
    """Folders of class folders by split, or all under `ALL_SPLITS`; links in them stay inside the folder `inside`."""

    folders: dict[str, tuple[Path, ...]]
    inside: Path
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ClassFolders(Converter):
    """All images of all class folders.

    Class attributes of a source: `places`, folders below the root that usually hold the class folders, best first (the
    root itself is always tried last); `suffixes` of its images; `named_by_class`, whether every file name starts with
    its class, which is then checked (names of other sources get their class folder's in front, as they may repeat);
    `named_parts`, how many folders of the image's path provenance names.
    """

    places: ClassVar[tuple[str, ...]] = ()
    suffixes: ClassVar[frozenset[str]] = SOURCE_SUFFIXES
    named_by_class: ClassVar[bool] = False
    named_parts: ClassVar[int] = 1

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

    def choose(self, label: str, paths: Sequence[Path], split: str) -> Sequence[Path]:
        """The images of one class that belong to `split`: all of them where there is one split only."""
        return paths

    def splits_in(self, root: Path) -> Sequence[str]:
        """The splits of the folders where a user has sorted the class folders into such, else those of the source."""
        if len(self.splits) == 1:
            return self.splits
        try:
            folders = self._locate(root).folders
        except UserError:
            return self.splits
        return self.splits if ALL_SPLITS in folders else tuple(folders)

    def published_found(self, split: str, found: Discovery) -> Counts:
        """Nothing is published of splits that users or other projects made."""
        is_users = any(note.startswith(SPLIT_TAKEN) for note in found.notes)
        return Counts() if is_users else super().published_found(split, found)

    def discover(self, root: Path, split: str) -> Discovery:
        """List the split's images; an image whose name says another class than its folder is a problem."""
        self.check_split(split, root)
        located = self._locate(root)
        notes, given = located.notes, ALL_SPLITS not in located.folders
        if not given:
            folders = located.folders[ALL_SPLITS]
        elif len(self.splits) > 1:
            folders = located.folders[split]
        else:
            folders = tuple(folder for same in located.folders.values() for folder in same)
        _, suffixes = self.layout()
        found = read_class_folders(folders, located.inside, tuple(self.facts.classes), suffixes, self.form)
        problems = list(found.problems)
        items = []
        for label, paths in found.images.items():
            placed, misplaced = self._placed(label, paths)
            problems += misplaced
            chosen = placed if given else self.choose(label, placed, split)
            items += [Item(self._stem(path), path, (), {"label": label}) for path in chosen]
        unique, repeats = ensure_unique_stems(sorted(items, key=lambda item: item.stem))
        if given:
            notes += (_folders_note(folders, split, len(self.splits) > 1),)
            return Discovery(unique, notes + found.notes, (*problems, *repeats))
        return Discovery(unique, notes + found.notes, repeats, shared_problems=tuple(problems))

    def read(self, item: Item) -> Annotations:
        """The category's display form as label, beside the source's spelling."""
        label = item.payload["label"]
        if label not in self.facts.classes:
            raise BadItem(f"unknown class {label!r}", str(item.image))
        return Annotations(
            label=self.facts.classes[label],
            source_label=label,
            provenance=Provenance(
                annotation=last_parts(item.file.parent, self.named_parts), original_id=item.image.name
            ),
        )

    def _locate(self, root: Path) -> LocatedFolders:
        """Where the class folders lie. Raises `UserError`."""
        usual, _ = self.layout()
        tops = {PurePosixPath(folder).parts[0] for folder in usual}
        bases, notes = locate_parts(self.name, root, lambda folder: bool(self._folders(folder)), tops, self.expected())
        found: dict[str, tuple[Path, ...]] = {}
        for base in bases:
            for split, folders in self._folders(base).items():
                found[split] = (*found.get(split, ()), *folders)
        ordered = {split: found[split] for split in (ALL_SPLITS, *SPLIT_WORDS) if split in found}
        return LocatedFolders(ordered, bases[0] if len(bases) == 1 else root, notes)

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

    def _stem(self, path: Path) -> str:
        """The item's stem: the file's, with its class folder's form in front where file names may repeat."""
        return path.stem if self.named_by_class else f"{self.form(path.parent.name)}-{path.stem}"

    def _placed(self, label: str, paths: Sequence[Path]) -> tuple[Sequence[Path], list[Problem]]:
        if not self.named_by_class:
            return paths, []
        placed: list[Path] = []
        misplaced = []
        for path in paths:
            if normal_form(path.stem).rstrip("0123456789") == self.prefix(label):
                placed.append(path)
            else:
                misplaced.append((str(path), f"file name says another class than its folder {path.parent.name!r}"))
        return placed, misplaced


def _folders_note(folders: Sequence[Path], split: str, by_folder: bool) -> str:
    listed = ", ".join(map(str, folders))
    if by_folder:
        return f"{SPLIT_TAKEN} the folder {listed}, not cut by the seeded rule"
    return f"{listed} were read together: the source is {split} as a whole"


@dataclass(frozen=True)
class SeededClassFolders(ClassFolders, SeededSplit):
    """Class folders without an official split: each class is cut by the seeded rule of `converters.splits`.

    Class folders that a user has sorted into ``train``, ``val`` and ``test`` keep these splits, and a note says so.
    """

    def choose(self, label: str, paths: Sequence[Path], split: str) -> Sequence[Path]:
        """The images of one class that belong to `split`, by the items' stems."""
        return self.part(paths, self._stem, split)


@dataclass(frozen=True)
class ListedClassFolders(SeededClassFolders):
    """Class folders beside which lists of other projects say the split: ``<list_name>-<split>.txt``, a name a line.

    Torchgeo holds three sources so. The lists name ``.jpg`` files whatever the product: names are compared without it.
    """

    list_name: ClassVar[str] = ""
    finding_options: ClassVar[frozenset[str]] = frozenset({"lists"})

    lists: bool = True
    """Whether lists beside the class folders, as torchgeo's NAME-train.txt, say the split; false: the seeded rule."""

    def splits_in(self, root: Path) -> Sequence[str]:
        """Those of the lists where there are some, else as the folders say."""
        return tuple(self._lists(root)) or super().splits_in(root)

    def discover(self, root: Path, split: str) -> Discovery:
        """The images that the split's list names, where there are lists."""
        lists = self._lists(root)
        if not lists:
            return super().discover(root, split)
        self.check_split(split, root)
        seeded = replace(self, lists=False)
        parts = [seeded.discover(root, part) for part in self.splits]
        items = {item.stem: item for part in parts for item in part.items}
        owner: dict[str, str] = {}
        problems: list[Problem] = []
        for part, path in lists.items():
            for line, name in read_shared(self.name, root, path, read_ids):
                stem = without_known_suffix(PurePosixPath(name).name)
                if stem not in items:
                    fault: Problem = Absent(str(path), f"line {line}: {name} has no image")
                elif owner.setdefault(stem, part) == part:
                    continue
                else:
                    fault = (str(path), f"line {line}: {name} is in the list of {owner[stem]} too")
                problems += [fault] if part == split else []
        chosen = tuple(item for stem, item in items.items() if owner.get(stem) == split)
        notes = (f"{SPLIT_TAKEN} {', '.join(map(str, lists.values()))}, not cut by the seeded rule", *parts[0].notes)
        unlisted = [item.place for stem, item in items.items() if stem not in owner]
        if unlisted:
            notes += (f"{len(unlisted)} images are named by no list and belong to no split",)
        ordered = tuple(sorted(chosen, key=lambda item: item.stem))
        consulted = frozenset((*lists.values(), *unlisted))
        shared = parts[0].shared_problems
        return Discovery(ordered, notes, tuple(problems), shared_problems=shared, consulted=consulted)

    def _lists(self, root: Path) -> dict[str, Path]:
        """The list of each split that has one; none where the class folders are sorted into splits already."""
        if not self.lists:
            return {}
        try:
            located = self._locate(root)
        except UserError:
            return {}
        if ALL_SPLITS not in located.folders:
            return {}
        for folder in dict.fromkeys((root, located.inside, *located.folders[ALL_SPLITS])):
            paths = {split: folder / f"{self.list_name}-{split}.txt" for split in SPLIT_WORDS}
            if found := {split: path for split, path in paths.items() if path.is_file()}:
                return found
        return {}
