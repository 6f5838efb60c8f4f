"""NWPU VHR-10: 650 aerial images with objects of ten classes and 150 without.

``NWPU VHR-10 dataset/{ground truth,positive image set,negative image set}``. A label line is ``(x1,y1),(x2,y2),c``: two
corners in pixels and the number of a class. A later relabelling with masks is a COCO file whose boxes are others.
Positive and negative images have the same names; a negative's stem begins with ``negative-``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from converters.base import register
from converters.boxes import BoxAnnotations, BoxConverter
from converters.catalog import Counts
from converters.formats.coco import box_fields, read_coco, row_object
from converters.formats.folders import normal_form
from converters.formats.objects import LabelledBoxes, labelled_rows
from converters.formats.rows import lines_apart, rows_apart
from converters.formats.shapes import BoxObject, check_box
from converters.formats.shared_file import read_shared
from converters.formats.split_lists import named_images
from converters.formats.text import finite, numbered_lines, read_bytes, shown
from converters.layout import (
    FileList,
    Problem,
    last_parts,
    layout_error,
    list_files,
    locate_archive,
    subfolders,
)
from converters.splits import SeededSplit
from mmrs.errors import BadItem
from mmrs.record import Provenance
from mmrs.source import Absent, Discovery, Item

_ARCHIVE_FOLDER = "NWPU VHR-10 dataset"
COCO_FOLDER = "NWPU VHR-10_dataset_coco"
COCO_FILE = "annotations.json"
POSITIVE, _NEGATIVE, _LABELS = "positiveimageset", "negativeimageset", "groundtruth"
_NUMBER = r"\s*([+-]?\d{1,7})\s*"
LINE = re.compile(rf"\({_NUMBER},{_NUMBER}\)\s*,\s*\({_NUMBER},{_NUMBER}\)\s*,{_NUMBER},?", re.ASCII)


@register("nwpu-vhr10")
@dataclass(frozen=True)
class NwpuVhr10(BoxConverter, SeededSplit):
    """Positive images with boxes, and negative ones."""

    annotations: Literal["txt", "coco"] = "txt"
    """The original boxes, or the relabelled ones of the COCO file."""

    negatives: bool = True
    """Whether the images without objects are kept."""

    def published(self, split: str) -> Counts:
        """Size of a split with negatives; nothing is known without them."""
        return super().published(split) if self.negatives else Counts()

    def discover(self, root: Path, split: str) -> Discovery:
        """List the split's positive images with their labels, then its negative ones."""
        self.check_split(split)
        base, notes = locate_archive(
            self.name, root, _ARCHIVE_FOLDER, lambda folder: _folder(folder, POSITIVE) is not None
        )
        images = _files(base, POSITIVE)
        unread: tuple[Problem, ...] = ()
        if self.annotations == "txt":
            items, problems = self._from_txt(base, images)
        else:
            items, problems, unread = self._from_coco(base, images)
        chosen = self.part(items, lambda item: item.stem, split)
        if self.negatives:
            empty = _files(base, _NEGATIVE)
            if not empty.by_stem:
                notes += ("there is no folder of negative images",)
            negatives = [Item(f"negative-{stem}", path) for stem, path in empty.by_stem.items()]
            chosen += self.part(negatives, lambda item: item.stem, split)
            problems += empty.problems
        ordered = tuple(sorted(chosen, key=lambda item: item.stem))
        # All splits are cut from one file, so its rows of no image are counted with the first of them.
        of_split = unread if split == self.splits[0] else ()
        return Discovery(ordered, notes, unread_rows=of_split, shared_problems=tuple(problems))

    def parse(self, item: Item) -> BoxAnnotations:
        """Objects in file order; a negative image has none."""
        if not item.annotations:
            nothing, layout = LabelledBoxes((), (), {}), "negative image set"
            return BoxAnnotations(nothing, provenance=Provenance(original_id=item.image.name, layout=layout))
        path = item.annotations[0]
        if item.payload is None:
            labels = tuple(self.facts.classes)
            raw, unread = lines_apart(read_bytes(path), lambda data: parse_nwpu_vhr10(data, str(path), labels))
        else:
            found, unread = rows_apart(item.payload["rows"], lambda row: row_object(row, str(path)))
            raw = list(found)
        boxes, unknown = labelled_rows(raw, self.facts.classes, str(path))
        return BoxAnnotations(
            boxes,
            unread=unread + unknown,
            provenance=Provenance(annotation=last_parts(path, 2), original_id=item.image.name, layout=self.annotations),
            declared_size=None if item.payload is None else item.payload["size"],
        )

    def _from_txt(self, base: Path, images: FileList) -> tuple[list[Item], list[Problem]]:
        folder = _folder(base, _LABELS)
        if folder is None:
            raise layout_error(
                self.name, base, "has no folder `ground truth` (choose annotations=coco for the COCO file)"
            )
        labels = list_files(folder, base, {".txt"})
        problems: list[Problem] = [*images.problems, *labels.problems]
        problems += [
            Absent(str(path), "image without a label file")
            for stem, path in images.by_stem.items()
            if labels.partner(stem, path) is None
        ]
        problems += [
            Absent(str(path), "label file without an image")
            for stem, path in labels.by_stem.items()
            if not images.has(stem) and stem.isdigit()
        ]
        pairs = [(stem, image, labels.partner(stem, image)) for stem, image in images.by_stem.items()]
        return [Item(stem, image, (label,)) for stem, image, label in pairs if label is not None], problems

    def _from_coco(self, base: Path, images: FileList) -> tuple[list[Item], list[Problem], tuple[Problem, ...]]:
        places = [base, base.parent, base / COCO_FOLDER, base.parent / COCO_FOLDER]
        source = next((place / COCO_FILE for place in places if (place / COCO_FILE).is_file()), None)
        if source is None:
            raise layout_error(
                self.name, base, f"has no {COCO_FILE}", [str(place / COCO_FILE) for place in places[::2]]
            )
        coco = read_shared(self.name, base, source, read_coco)
        named, missing = named_images(coco, images, source, "the positive image set")
        items = []
        for image, path in named:
            rows = [box_fields(row) for row in image.rows]
            size = None if image.size is None else list(image.size)
            items.append(Item(path.stem, path, (source,), {"rows": rows, "size": size}))
        return items, [*images.problems, *coco.problems, *missing], coco.unread_rows


def read_lines(path: Path, labels: Sequence[str]) -> list[BoxObject]:
    """Objects of one ground truth file; class numbers count `labels` from 1. Raises `BadItem` with the line."""
    return parse_nwpu_vhr10(read_bytes(path), str(path), labels)


def parse_nwpu_vhr10(data: bytes, path: str, labels: Sequence[str]) -> list[BoxObject]:
    """The same from the bytes of the file."""
    objects = []
    for number, line in numbered_lines(data, path):
        match = LINE.fullmatch(line)
        if match is None:
            raise BadItem(f"line {shown(line)} is not of the form (x1,y1),(x2,y2),class", path, number)
        x1, y1, x2, y2 = (finite(word, "corner", path, number) for word in match.groups()[:4])
        index = int(match[5])
        if not 1 <= index <= len(labels):
            raise BadItem(f"class number {index} is out of range 1 to {len(labels)}", path, number)
        box = check_box((x1, y1, x2, y2), path, number)
        objects.append(BoxObject(labels[index - 1], box, line=number))
    return objects


def _folder(base: Path, name: str) -> Path | None:
    return next((child for child in subfolders(base) if normal_form(child.name) == name), None)


def _files(base: Path, name: str) -> FileList:
    return list_files(_folder(base, name) or base / name, base)
