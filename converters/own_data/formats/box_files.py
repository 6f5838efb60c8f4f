"""VOC, DOTA, YOLO and YOLO-OBB: a label file an image, of the image's name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from converters.formats.dota import parse_dota
from converters.formats.objects import from_inclusive
from converters.formats.rows import lines_apart
from converters.formats.shapes import BoxObject
from converters.formats.text import read_bytes
from converters.formats.voc import parse_voc
from converters.formats.yolo import YoloObject, parse_yolo, yolo_boxes, yolo_quads
from converters.own_data.box_rows import BoxRows, boxes_of_classes
from converters.own_data.description import DescribedSet, Description
from converters.own_data.items import (
    LOOKED_AT_FOR_BOXES,
    TURNED_BOX_TASKS,
    FoundItems,
    OwnFormat,
    ReadImage,
    labelled_images,
)
from mmrs.errors import BadItem
from mmrs.imaging.limits import SCENE
from mmrs.imaging.probe import probe
from mmrs.source import Item


def _find_voc(described: DescribedSet, root: Path, split: str) -> FoundItems:
    found = labelled_images(described.content, root, split, ".xml")
    turned = any(map(_states_turns, found.items[:LOOKED_AT_FOR_BOXES]))
    return replace(found, tasks=TURNED_BOX_TASKS) if turned else found


def _states_turns(item: Item) -> bool:
    """Whether the XML file says how its boxes are turned, be it by nothing."""
    try:
        data = read_bytes(item.annotations[0])
    except BadItem:
        return False
    return b"<robndbox" in data or b"<rotation>" in data or b">rotation<" in data


def _read_voc(own: Description, item: Item) -> ReadImage:
    path = str(item.annotations[0])
    voc = parse_voc(read_bytes(item.annotations[0]), path)
    objects = tuple(map(from_inclusive, voc.objects)) if own.options.one_based else voc.objects
    return boxes_of_classes(own, item, BoxRows(objects, voc.unread, voc.size))


def _find_dota(described: DescribedSet, root: Path, split: str) -> FoundItems:
    return labelled_images(described.content, root, split, ".txt")


def _read_dota(own: Description, item: Item) -> ReadImage:
    path, labels = str(item.annotations[0]), (*own.classes, *own.options.ignored)
    dota, unread = lines_apart(read_bytes(item.annotations[0]), lambda lines: parse_dota(lines, path, labels))
    return boxes_of_classes(own, item, BoxRows(tuple(dota.boxes), unread))


def _find_yolo(described: DescribedSet, root: Path, split: str) -> FoundItems:
    # The rule of YOLO data sets: an image without a label file shows nothing.
    return labelled_images(described.content, root, split, ".txt", "images without objects")


def _read_yolo(own: Description, item: Item) -> ReadImage:
    if not item.annotations:
        return boxes_of_classes(own, item, BoxRows(()))
    path, count = str(item.annotations[0]), len(own.classes)
    form: Literal["hbb", "obb"] = "obb" if own.format == "yolo-obb" else "hbb"
    parsed, unread = lines_apart(read_bytes(item.annotations[0]), lambda lines: parse_yolo(lines, path, form, count))
    return boxes_of_classes(own, item, BoxRows(_yolo_boxes(own, item, parsed), unread))


def _yolo_boxes(own: Description, item: Item, parsed: Sequence[YoloObject]) -> tuple[BoxObject, ...]:
    if not parsed:
        return ()
    labels = tuple(own.classes)
    width, height = probe(item.file, SCENE).upright_size
    if own.format == "yolo-obb":
        quads = yolo_quads(parsed, width, height).reshape(-1, 8).tolist()
        return tuple(
            BoxObject(labels[obj.index], corners=tuple(quad), line=obj.line)
            for obj, quad in zip(parsed, quads, strict=True)
        )
    boxes = yolo_boxes(parsed, width, height).round(4).tolist()
    return tuple(
        BoxObject(labels[obj.index], (x1, y1, x2, y2), line=obj.line)
        for obj, (x1, y1, x2, y2) in zip(parsed, boxes, strict=True)
    )


VOC_FORMAT = OwnFormat(_find_voc, _read_voc)
DOTA_FORMAT = OwnFormat(_find_dota, _read_dota)
YOLO_FORMAT = OwnFormat(_find_yolo, _read_yolo)
