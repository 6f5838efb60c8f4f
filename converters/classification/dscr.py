"""DSCR: crops of ships in 7 classes; ``annotations/{train,val,test}.csv`` name files and labels, the split is official.

The first column is headed ``class`` but holds the file name. 1,627 names are Chinese: names are compared in NFC.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from converters.base import Converter, register
from converters.formats.folders import normal_form
from converters.formats.labels import LabelFile, read_labels
from converters.formats.shared_file import read_shared
from converters.layout import (
    FileList,
    Problem,
    found_image,
    layout_error,
    list_files,
    locate_root,
    merge_files,
)
from mmrs.errors import BadItem
from mmrs.imaging.suffixes import without_known_suffix
from mmrs.record import Annotations, Provenance
from mmrs.source import Discovery, Item, ensure_unique_stems

ANNOTATION_FOLDERS = ("annotations", "")
_IMAGE_FOLDERS = ("images", "image", "JPEGImages")


@register("dscr")
@dataclass(frozen=True)
class Dscr(Converter):
    """No options."""

    revision: ClassVar[int] = 2

    def discover(self, root: Path, split: str) -> Discovery:
        """List the images that the split's table names, wherever below the root one of the usual folders has them."""
        self.check_split(split)
        base, notes = locate_root(self.name, root, self._holds, {"annotations", *_IMAGE_FOLDERS})
        table = _table(base, split)
        if table is None:
            raise layout_error(self.name, base, f"has no annotations/{split}.csv")
        found = read_shared(self.name, root, table, read_labels)
        images = _images(base, self.splits)
        if not images.by_name:
            raise layout_error(self.name, base, f"has {table.relative_to(base)} but no image")
        items, problems = self._items(found, images, table)
        unique, repeats = ensure_unique_stems(sorted(items, key=lambda item: item.stem))
        if found.repeats:
            notes += (f"{table.name}: {found.repeats} rows repeat another one and were counted, not kept",)
        own = (*found.problems, *problems, *repeats)
        return Discovery(unique, notes, own, shared_problems=images.problems, consulted=frozenset((table,)))

    def read(self, item: Item) -> Annotations:
        """The category's display form as label, beside the source's spelling."""
        label = item.payload["label"]
        if label not in self.facts.classes:
            raise BadItem(f"unknown class {label!r}", str(item.image))
        return Annotations(
            label=self.facts.classes[label],
            source_label=item.payload["source_label"],
            provenance=Provenance(annotation=item.annotations[0].name, original_id=item.payload["name"]),
        )

    def _holds(self, root: Path) -> bool:
        return any(_table(root, split) is not None for split in self.splits)

    def _items(self, found: LabelFile, images: FileList, table: Path) -> tuple[list[Item], list[Problem]]:
        known = {normal_form(label): label for label in self.facts.classes}
        items: list[Item] = []
        problems: list[Problem] = []
        for name, label in found.labels.items():
            image, fault = found_image(images, name, table, "is named but is not there")
            problems += fault
            if image is None:
                continue
            if normal_form(label) not in known:
                problems.append((str(table), f"{name} has the unknown class {label!r}"))
            else:
                payload = {"label": known[normal_form(label)], "source_label": label, "name": name}
                items.append(Item(without_known_suffix(name), image, (table,), payload))
        return items, problems


def _table(root: Path, split: str) -> Path | None:
    paths = (root / folder / f"{split}.csv" for folder in ANNOTATION_FOLDERS)
    return next((path for path in paths if path.is_file()), None)


def _images(root: Path, splits: Sequence[str]) -> FileList:
    """Nothing is known of the image archive's folders, so all usual ones are listed together."""
    folders = [root / folder / split for folder in (*_IMAGE_FOLDERS, "") for split in ("", *splits)]
    return merge_files(list_files(folder, root) for folder in folders)
