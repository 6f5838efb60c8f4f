"""Class folders beside which lists of other projects say the split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import ClassVar

from converters.classification.class_folders import ALL_SPLITS, SPLIT_TAKEN, SeededClassFolders
from converters.formats.folders import SPLIT_WORDS
from converters.formats.shared_file import read_shared
from converters.formats.split_lists import read_ids
from converters.layout import Problem
from mmrs.errors import UserError
from mmrs.imaging.suffixes import without_known_suffix
from mmrs.source import Absent, Discovery


@dataclass(frozen=True)
class ListedClassFolders(SeededClassFolders):
    """Class folders beside which lists of other projects say the split: ``<list_name>-<split>.txt``, a name a line.

    Torchgeo holds three sources so. The lists name ``.jpg`` files whatever the product: names are compared without it.
    """

    list_name: ClassVar[str] = ""

    def splits_in(self, root: Path) -> Sequence[str]:
        """Those of the lists where there are some, else as the folders say."""
        return tuple(self._lists(root)) or super().splits_in(root)

    def discover(self, root: Path, split: str) -> Discovery:
        """The images that the split's list names, where there are lists."""
        lists = self._lists(root)
        if not lists:
            return super().discover(root, split)
        self.check_split(split, root)
        seeded = replace(self, given_splits=False)
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
        if not self.given_splits:
            return {}
        try:
            located = self.locate(root)
        except UserError:
            return {}
        if ALL_SPLITS not in located.parts or located.are_tables:
            return {}
        for folder in dict.fromkeys((root, located.inside, *located.parts[ALL_SPLITS])):
            paths = {split: folder / f"{self.list_name}-{split}.txt" for split in SPLIT_WORDS}
            if found := {split: path for split, path in paths.items() if path.is_file()}:
                return found
        return {}
