"""COCO JSON, of boxes and of captions: one file for all images of a split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from converters.formats.captions import distinct_captions
from converters.formats.coco import CocoFile, box_fields, parse_coco_captions, read_coco, row_object
from converters.formats.rows import rows_apart
from converters.formats.text import read_bytes
from converters.formats.turned import states_rotation
from converters.own_data.box_rows import BoxRows, boxes_of_classes
from converters.own_data.description import DescribedSet, Description
from converters.own_data.items import (
    TURNED_BOX_TASKS,
    FoundItems,
    OwnFormat,
    ReadImage,
    images_and_file,
    images_named_in,
)
from mmrs.errors import BadItem
from mmrs.record import Annotations, Provenance
from mmrs.source import Item


def _find(described: DescribedSet, root: Path, split: str) -> FoundItems:
    order = described.content.options.box_order
    images, source, parsed = images_and_file(described, root, split, lambda path: read_coco(path, order))
    rows = ((row.file_name, {"size": row.size, "rows": [box_fields(one) for one in row.rows]}) for row in parsed.images)
    found = images_named_in(images, source, rows, parsed.problems)
    turned = any(states_rotation(row) for item in found.items for row in item.payload["rows"])
    return replace(found, unread_rows=parsed.unread_rows, tasks=TURNED_BOX_TASKS if turned else ())


def _read(own: Description, item: Item) -> ReadImage:
    path = str(item.annotations[0])
    objects, unread = rows_apart(item.payload["rows"], lambda row: row_object(row, path))
    width_height = item.payload["size"]
    return boxes_of_classes(own, item, BoxRows(objects, unread, tuple(width_height) if width_height else None))


COCO_FORMAT = OwnFormat(_find, _read)


def _find_captions(described: DescribedSet, root: Path, split: str) -> FoundItems:
    def read(path: Path) -> CocoFile:
        return parse_coco_captions(read_bytes(path), str(path))

    images, source, parsed = images_and_file(described, root, split, read)
    rows = (
        (row.file_name, {"size": row.size, "captions": [str(one["caption"]) for one in row.rows]})
        for row in parsed.images
    )
    return replace(images_named_in(images, source, rows, parsed.problems), unread_rows=parsed.unread_rows)


def _read_captions(own: Description, item: Item) -> ReadImage:
    path = str(item.annotations[0])
    captions = distinct_captions(item.payload["captions"])
    if not captions.texts:
        raise BadItem(f"{item.image} has no caption with a letter", path)
    size = item.payload["size"]
    return Annotations(
        captions=captions.texts,
        declared_size=tuple(size) if size else None,
        provenance=Provenance(annotation=item.annotations[0].name, original_id=str(item.image)),
    )


COCO_CAPTIONS_FORMAT = OwnFormat(_find_captions, _read_captions)
