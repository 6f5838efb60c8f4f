"""Labelme: a JSON file an image, beside it or in a folder of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from converters.formats.labelme import parse_labelme
from converters.formats.text import read_bytes
from converters.layout import plain_stem
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
from mmrs.source import Item


def _find(described: DescribedSet, root: Path, split: str) -> FoundItems:
    found = labelled_images(described.content, root, split, ".json")
    turned = any(map(_has_outlines, found.items[:LOOKED_AT_FOR_BOXES]))
    return replace(found, tasks=TURNED_BOX_TASKS) if turned else found


def _has_outlines(item: Item) -> bool:
    """Whether a shape of the file may be more than a horizontal box; files with their image inside are not parsed."""
    try:
        data = read_bytes(item.annotations[0])
    except BadItem:
        return False
    return b'"polygon"' in data or b'"rotation"' in data


def _read(own: Description, item: Item) -> ReadImage:
    path = str(item.annotations[0])
    parsed = parse_labelme(read_bytes(item.annotations[0]), path)
    parsed.check_names_image(plain_stem(item.stem, item.image).rpartition("/")[2], path)
    return boxes_of_classes(own, item, BoxRows(parsed.objects, parsed.unread, parsed.size))


LABELME_FORMAT = OwnFormat(_find, _read)
