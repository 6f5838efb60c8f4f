"""UC Merced Land Use: 21 classes of 100 aerial images, ``UCMerced_LandUse/Images/<class>/<class>NN.tif``.

There is no official split. Within each class the images are sorted by sha256 of ``<seed>:<stem>`` and the first
`train_share` of them, rounded to the nearest whole number, are train, the rest test.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from converters.base import Converter, register
from converters.catalog import Counts
from converters.formats.folders import normal_form, read_class_folders
from converters.layout import Problem, locate_root, tail
from mmrs.errors import BadItem
from mmrs.record import Annotations, Provenance
from mmrs.source import Discovery, Item, ensure_unique_stems

ARCHIVE_FOLDER = "UCMerced_LandUse"
PUBLISHED_SHARE = 0.8


@register("ucmerced")
@dataclass(frozen=True)
class UcMerced(Converter):
    """Options: `seed` and `train_share` (0..1) of the split."""

    seed: int = 0
    train_share: Annotated[float, Field(gt=0, lt=1)] = PUBLISHED_SHARE

    def published(self, split: str) -> Counts:
        """Published size of the 80/20 split; nothing was published for other shares."""
        return super().published(split) if self.train_share == PUBLISHED_SHARE else Counts()

    def discover(self, root: Path, split: str) -> Discovery:
        """List the split's images; an image whose name says another class than its folder is a problem."""
        self.check_split(split)
        base, notes = root / ARCHIVE_FOLDER, tuple[str, ...]()
        if not (base / "Images").is_dir():
            base, notes = locate_root(self.name, root, lambda folder: (folder / "Images").is_dir(), {"Images"})
        found = read_class_folders(base / "Images", base, tuple(self.facts.classes))
        problems = list(found.problems)
        items = []
        for label, paths in found.images.items():
            placed, misplaced = _by_prefix(label, paths)
            problems += misplaced
            items += [Item(path.stem, path, (), {"label": label}) for path in self._part(placed, split)]
        unique, repeats = ensure_unique_stems(sorted(items, key=lambda item: item.stem))
        # Findings about the whole folder belong to one split, or every split would count them again.
        shared = tuple(problems) if split == self.splits[0] else ()
        return Discovery(unique, notes + found.notes, shared + repeats)

    def read(self, item: Item) -> Annotations:
        """The category's display form as label, beside the source's spelling."""
        label = item.payload["label"]
        if label not in self.facts.classes:
            raise BadItem(f"unknown class {label!r}", str(item.image))
        return Annotations(
            label=self.facts.classes[label],
            source_label=label,
            provenance=Provenance(annotation=tail(item.image.parent, 2), original_id=item.image.name),
        )

    def _part(self, paths: Sequence[Path], split: str) -> list[Path]:
        ordered = sorted(paths, key=lambda path: hashlib.sha256(f"{self.seed}:{path.stem}".encode()).digest())
        train = int(len(ordered) * self.train_share + 0.5)
        return ordered[:train] if split == "train" else ordered[train:]


def _by_prefix(label: str, paths: Sequence[Path]) -> tuple[list[Path], list[Problem]]:
    placed, misplaced = [], []
    for path in paths:
        if normal_form(path.stem).rstrip("0123456789") == label:
            placed.append(path)
        else:
            misplaced.append((str(path), f"file name says another class than its folder {path.parent.name!r}"))
    return placed, misplaced
