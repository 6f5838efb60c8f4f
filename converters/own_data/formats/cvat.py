"""CVAT for images: one XML file for all images of a split, read for its boxes or for its tags."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from converters.formats.cvat import read_cvat, shape_object
from converters.formats.rows import rows_apart
from converters.own_data.box_rows import BoxRows, boxes_of_classes, class_of_tags
from converters.own_data.description import DescribedSet, Description
from converters.own_data.items import (
    TURNED_BOX_TASKS,
    FoundItems,
    OwnFormat,
    ReadImage,
    images_and_file,
    images_named_in,
)
from mmrs.source import Item


def _find(described: DescribedSet, root: Path, split: str) -> FoundItems:
    own = described.content
    images, source, parsed = images_and_file(described, root, split, read_cvat)
    rows = (
        (image.name, {"size": image.size, "shapes": list(image.shapes), "tags": list(image.tags)})
        for image in parsed.images
    )
    found = images_named_in(images, source, rows, parsed.problems)
    shapes = [shape for item in found.items for shape in item.payload["shapes"]]
    if own.options.task == "classification":
        return replace(found, notes=(*found.notes, *_left_out(len(shapes), "shapes", "boxes")))
    tags = sum(len(item.payload["tags"]) for item in found.items)
    turned = any(shape["kind"] == "polygon" or "rotation" in shape for shape in shapes)
    notes = (*found.notes, *_left_out(tags, "tags", "classification"))
    return replace(found, notes=notes, tasks=TURNED_BOX_TASKS if turned else ())


def _left_out(count: int, what: str, task: str) -> tuple[str, ...]:
    return (f"{count} {what} are not read: they are for {task}",) if count else ()


def _read(own: Description, item: Item) -> ReadImage:
    if own.options.task == "classification":
        return class_of_tags(own, item, item.payload["tags"])
    path = str(item.annotations[0])
    objects, unread = rows_apart(item.payload["shapes"], lambda shape: shape_object(shape, path))
    size = item.payload["size"]
    return boxes_of_classes(own, item, BoxRows(objects, unread, tuple(size) if size else None))


CVAT_FORMAT = OwnFormat(_find, _read)
