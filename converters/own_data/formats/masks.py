"""Segmentation masks: a PNG an image, of the image's name. A class's value is its place among the classes, from 0."""

from __future__ import annotations

from pathlib import Path

from converters.formats.masks import parse_mask
from converters.formats.text import read_bytes
from converters.own_data.box_rows import BoxRows, boxes_of_classes
from converters.own_data.description import DescribedSet, Description
from converters.own_data.items import FoundItems, OwnFormat, ReadImage, labelled_images
from mmrs.source import Item


def _find(described: DescribedSet, root: Path, split: str) -> FoundItems:
    return labelled_images(described.content, root, split, ".png")


def _read(own: Description, item: Item) -> ReadImage:
    path = str(item.annotations[0])
    cut = {value: label for value, label in enumerate(own.classes) if label not in own.options.background}
    rest = set(range(len(own.classes))) - set(cut)
    parsed = parse_mask(read_bytes(item.annotations[0]), path, cut, rest)
    return boxes_of_classes(own, item, BoxRows(parsed.objects, parsed.unread, parsed.size))


MASKS_FORMAT = OwnFormat(_find, _read)
