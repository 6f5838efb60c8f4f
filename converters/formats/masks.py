"""Segmentation masks: a picture whose values are numbers of classes, cut into objects.

PASCAL VOC's class masks are palette PNGs, others grey ones; the value is what counts, never the colour. Pixels of one
class that touch, also by their corners, are one object: two objects of a class that touch cannot be told apart. 255
is "void", as in PASCAL VOC, unless it is a class. Components are found by GDAL (`rasterio.features.shapes`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converters.formats.polygons import outlined_object
from converters.formats.shapes import BoxObject
from mmrs.errors import BadItem
from mmrs.imaging.limits import WHOLE_IMAGE
from mmrs.imaging.probe import open_image
from mmrs.record import UnreadRow

VOID = 255
_MODES = frozenset({"1", "L", "P"})
# Changes of value along the rows: noise has one in every pixel, and each would be a corner of an outline.
_MOST_CHANGES, _MOST_OBJECTS = 2_000_000, 20_000


@dataclass(frozen=True, slots=True)
class MaskFile:
    """One mask: (width, height) in pixels, its objects by class and place, and a row for each value of no class.

    `values` are all that occur.
    """

    size: tuple[int, int]
    objects: tuple[BoxObject, ...]
    unread: tuple[UnreadRow, ...]
    values: frozenset[int]


def parse_mask(data: bytes, path: str, labels: Mapping[int, str], background: Collection[int]) -> MaskFile:
    """Cut the bytes of one mask into objects.

    Args:
        data: the file.
        path: names it in errors.
        labels: value -> label of the objects that are cut out.
        background: values that are no objects; what is neither here nor in `labels`, and is not 255, is not understood.

    Raises:
        BadItem: no picture of one byte a pixel, or one that is cut into too many pieces.
    """
    values_HW = _values(data, path)
    counts = np.bincount(values_HW.reshape(-1), minlength=VOID + 1)
    known = {*labels, *background} | ({VOID} - set(labels))
    unread = tuple(
        UnreadRow(reason=f"value {value} ({counts[value]} pixels) is no class", path=path)
        for value in np.flatnonzero(counts).tolist()
        if value not in known
    )
    is_object = np.isin(values_HW, list(labels))
    changes = int(np.count_nonzero(np.diff(np.where(is_object, values_HW, VOID), axis=1)))
    if changes > _MOST_CHANGES:
        raise BadItem(f"the mask changes {changes:,} times along its rows; at most {_MOST_CHANGES:,} are read", path)
    objects = _components(values_HW, is_object, labels, path) if is_object.any() else []
    values = frozenset(np.flatnonzero(counts).tolist())
    return MaskFile((values_HW.shape[1], values_HW.shape[0]), tuple(objects), unread, values)


def _values(data: bytes, path: str) -> np.ndarray:
    with open_image(Path(path), WHOLE_IMAGE, data) as image:
        if image.mode not in _MODES:
            reason = f"the mask has the mode {image.mode}; a number of a class in each pixel (L or P) is expected"
            raise BadItem(reason, path)
        return np.asarray(image).astype(np.uint8)


def _components(values_HW: np.ndarray, is_object: np.ndarray, labels: Mapping[int, str], path: str) -> list[BoxObject]:
    from rasterio.features import shapes

    found: list[tuple[int, tuple[float, ...], BoxObject]] = []
    for geometry, value in shapes(values_HW, mask=is_object, connectivity=8):
        if len(found) >= _MOST_OBJECTS:
            raise BadItem(f"the mask has more than {_MOST_OBJECTS:,} objects", path)
        thing = outlined_object(labels[int(value)], np.array(geometry["coordinates"][0], dtype=np.float64))
        found.append((int(value), thing.box or (), thing))
    return [thing for _, _, thing in sorted(found, key=lambda one: one[:2])]
