"""Scenes in class folders: the base of the sources whose only annotation is the folder's name.

A source states where its class folders usually lie and how its files are named; all else is in its facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

from converters.base import Converter
from converters.formats.folders import has_class_folders, normal_form, read_class_folders
from converters.layout import Problem, last_parts, locate_parts
from converters.splits import SeededSplit
from mmrs.errors import BadItem
from mmrs.imaging.suffixes import SOURCE_SUFFIXES
from mmrs.record import Annotations, Provenance
from mmrs.source import Discovery, Item, ensure_unique_stems


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of class folders: of the whole set, or of one split where a user has sorted it so."""

    folder: Path
    holds_one_split: bool


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

    def choose(self, label: str, paths: Sequence[Path], split: str) -> Sequence[Path]:
        """The images of one class that belong to `split`: all of them where there is one split only."""
        return paths

    def discover(self, root: Path, split: str) -> Discovery:
        """List the split's images; an image whose name says another class than its folder is a problem."""
        self.check_split(split)
        usual, suffixes = self.layout()
        tops = {PurePosixPath(folder).parts[0] for folder in usual}
        bases, notes = locate_parts(self.name, root, lambda folder: self._find(folder, split) is not None, tops)
        places = [place for base in bases if (place := self._find(base, split))]
        folders, given = [place.folder for place in places], all(place.holds_one_split for place in places)
        inside = bases[0] if len(bases) == 1 else root
        found = read_class_folders(folders, inside, tuple(self.facts.classes), suffixes, self.form)
        problems = list(found.problems)
        items = []
        for label, paths in found.images.items():
            placed, misplaced = self._placed(label, paths)
            problems += misplaced
            chosen = placed if given else self.choose(label, placed, split)
            items += [Item(self._stem(path), path, (), {"label": label}) for path in chosen]
        unique, repeats = ensure_unique_stems(sorted(items, key=lambda item: item.stem))
        if given:
            listed = ", ".join(map(str, folders))
            notes += (f"the split was taken from the folder {listed}, not cut by the seeded rule",)
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
                annotation=last_parts(item.image.parent, self.named_parts), original_id=item.image.name
            ),
        )

    def _find(self, root: Path, split: str) -> Place | None:
        labels, (usual, suffixes) = tuple(self.facts.classes), self.layout()
        whole = [root / folder for folder in (*usual, "")]
        places = [Place(folder, False) for folder in whole]
        if len(self.splits) > 1:
            places += [Place(folder / split, True) for folder in whole]
        return next((place for place in places if has_class_folders(place.folder, labels, suffixes, self.form)), None)

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


@dataclass(frozen=True)
class SeededClassFolders(ClassFolders, SeededSplit):
    """Class folders without an official split: each class is cut by the seeded rule of `converters.splits`.

    Class folders that a user has sorted into ``train`` and ``test`` keep that split, and a note says so.
    """

    def choose(self, label: str, paths: Sequence[Path], split: str) -> Sequence[Path]:
        """The images of one class that belong to `split`, by the items' stems."""
        return self.part(paths, self._stem, split)
