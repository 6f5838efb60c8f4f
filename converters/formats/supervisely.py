"""Supervisely: an annotation file an image, with rectangles, polygons and bitmaps, as exported by the platform.

Coordinates that are whole numbers name pixels, both ends included; those with a fraction name places, as newer exports
have them. A bitmap is a PNG, deflated, in base64: what it unpacks to is held against the size of the image before it is
decoded. Points, lines and graphs are no boxes: rows that are not read.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.formats.polygons import outlined_object, pixel_squares
from converters.formats.rows import rows_apart
from converters.formats.shapes import BoxObject
from converters.formats.text import finite, integer, parse_json, shown
from mmrs.errors import BadItem
from mmrs.geometry import Array
from mmrs.imaging.limits import WHOLE_IMAGE, SizeLimit
from mmrs.imaging.probe import open_image
from mmrs.record import UnreadRow

_MOST_OBJECTS, _MOST_POINTS = 100_000, 100_000
# A PNG of a mask is smaller than its pixels; a small one has its header beside.
_HEADER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class SuperviselyFile:
    """One file: (width, height) in pixels, objects, rows that are none, and the names of the image's tags."""

    size: tuple[int, int]
    objects: tuple[BoxObject, ...]
    unread: tuple[UnreadRow, ...]
    tags: tuple[str, ...]


def parse_supervisely(data: bytes, path: str) -> SuperviselyFile:
    """Parse the bytes of one file; `path` names it in errors.

    Raises:
        BadItem: not JSON, no list ``objects``, or no ``size``.
    """
    content = parse_json(data, path)
    rows = content.get("objects") if isinstance(content, dict) else None
    if not isinstance(rows, list) or len(rows) > _MOST_OBJECTS:
        raise BadItem("no list `objects` at the top level", path)
    size = _size(content.get("size"), path)
    objects, unread = rows_apart(
        list(enumerate(rows)), lambda pair: _object(pair[1], f"objects[{pair[0]}]", size, path)
    )
    tags = content.get("tags")
    names = [tag.get("name") for tag in tags if isinstance(tag, dict)] if isinstance(tags, list) else []
    return SuperviselyFile(size, objects, unread, tuple(name for name in names if isinstance(name, str)))


def _size(stated: Any, path: str) -> tuple[int, int]:
    fields: Mapping[str, Any] = stated if isinstance(stated, dict) else {}
    size = integer(fields.get("width"), "size.width", path), integer(fields.get("height"), "size.height", path)
    if min(size) <= 0 or size[0] * size[1] > WHOLE_IMAGE.pixels:
        raise BadItem(f"size {size[0]} x {size[1]} is that of no image", path)
    return size


def _object(row: Any, where: str, size: tuple[int, int], path: str) -> BoxObject:
    if not isinstance(row, dict):
        raise BadItem(f"{where} is {shown(row)}, an object is expected", path)
    label, kind = row.get("classTitle"), row.get("geometryType")
    if not isinstance(label, str) or not label.strip():
        raise BadItem(f"{where} has the classTitle {shown(label)}", path)
    if kind == "rectangle":
        points = pixel_squares(_exterior(row, 2, where, path))
        (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        return BoxObject(label.strip(), (x1, y1, x2, y2))
    if kind == "polygon":
        return outlined_object(label.strip(), pixel_squares(_exterior(row, 3, where, path)))
    if kind == "bitmap":
        return outlined_object(label.strip(), _bitmap_outline(row.get("bitmap"), where, size, path))
    raise BadItem(f"{where} ({label!r}) is a {shown(kind)}, which is no box", path)


def _exterior(row: Mapping[str, Any], least: int, where: str, path: str) -> Array:
    """The outer points ``(N, 2)`` of a shape; its holes do not change the box."""
    points = row.get("points")
    outer = points.get("exterior") if isinstance(points, dict) else None
    if not isinstance(outer, list) or not least <= len(outer) <= _MOST_POINTS:
        raise BadItem(f"{where} has the points {shown(outer)}, a list of at least {least} is expected", path)
    if not all(isinstance(point, list) and len(point) == 2 for point in outer):
        raise BadItem(f"{where} has the points {shown(outer)}, pairs of x, y are expected", path)
    numbers = [finite(value, f"a point of {where}", path) for point in outer for value in point]
    return np.array(numbers, dtype=np.float64).reshape(-1, 2)


def _bitmap_outline(bitmap: Any, where: str, size: tuple[int, int], path: str) -> Array:
    """Corners ``(N, 2)`` of the first and the last pixel of each row of a bitmap, in pixels of the image."""
    fields: Mapping[str, Any] = bitmap if isinstance(bitmap, dict) else {}
    origin, data = fields.get("origin"), fields.get("data")
    if not isinstance(origin, list) or len(origin) != 2 or not isinstance(data, str):
        raise BadItem(f"{where} has the bitmap {shown(bitmap)}; data and an origin of x, y are expected", path)
    x, y = (integer(value, f"the origin of {where}", path) for value in origin)
    is_set = _pixels(_inflated(data, where, size, path), where, size, path)
    rows = np.flatnonzero(is_set.any(axis=1))
    if not len(rows):
        raise BadItem(f"the bitmap of {where} has no pixel", path)
    first = is_set[rows].argmax(axis=1)
    last = is_set.shape[1] - is_set[rows, ::-1].argmax(axis=1)
    ends = np.concatenate([np.stack([first, rows], axis=1), np.stack([last, rows], axis=1)])
    corners = np.concatenate([ends, ends + np.array([0, 1])])
    return corners + np.array([x, y], dtype=np.float64)


def _inflated(data: str, where: str, size: tuple[int, int], path: str) -> bytes:
    most = 4 * size[0] * size[1] + _HEADER_BYTES
    if len(data) > 2 * most:
        raise BadItem(f"the bitmap of {where} is larger than its image", path)
    try:
        unpacking = zlib.decompressobj()
        content = unpacking.decompress(base64.b64decode(data, validate=True), most)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise BadItem(f"the bitmap of {where} cannot be unpacked: {error}", path) from error
    if unpacking.unconsumed_tail:
        raise BadItem(f"the bitmap of {where} unpacks to more than its image has", path)
    if not unpacking.eof:
        raise BadItem(f"the bitmap of {where} breaks off", path)
    return content


def _pixels(content: bytes, where: str, size: tuple[int, int], path: str) -> np.ndarray:
    """Which pixels ``(H, W)`` are set: by the last band where there is transparency, else those that are not 0."""
    if not content.startswith(b"\x89PNG"):
        raise BadItem(f"the bitmap of {where} is no PNG", path)
    try:
        with open_image(Path(path), SizeLimit(size[0] * size[1]), content) as image:
            pixels = np.asarray(image)
    except BadItem as error:
        raise BadItem(f"the bitmap of {where}: {error.reason}", path) from error
    if pixels.shape[0] > size[1] or pixels.shape[1] > size[0]:
        raise BadItem(f"the bitmap of {where} is larger than its image", path)
    return (pixels[..., -1] if pixels.ndim > 2 else pixels) != 0
