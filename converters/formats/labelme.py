"""Labelme JSON, a file an image, as labelme and X-AnyLabeling write it: rectangles, polygons and turned rectangles.

Points are places in pixels. A polygon has its extent as a box and the rectangle of least area around it as an oriented
one. Circles have their extent; points, lines and strips of lines have no area and are rows that are not read. The
image in ``imageData`` is not looked at: the file beside is the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import Any

import numpy as np

from converters.formats.polygons import outlined_object
from converters.formats.rows import rows_apart
from converters.formats.shapes import BoxObject
from converters.formats.text import finite, flag, integer, parse_json, shown
from mmrs.errors import BadItem
from mmrs.imaging.suffixes import without_known_suffix
from mmrs.record import UnreadRow

_MOST_SHAPES, _MOST_POINTS = 100_000, 100_000
_RECTANGLE_POINTS = (2, 4)
_OUTLINES = ("polygon", "rotation")


@dataclass(frozen=True, slots=True)
class LabelmeFile:
    """One file: the plain name of its image (None where it states none), (width, height), objects and other shapes."""

    image_name: str | None
    size: tuple[int, int] | None
    objects: tuple[BoxObject, ...]
    unread: tuple[UnreadRow, ...]

    def check_names_image(self, stem: str, path: str) -> None:
        """Raise `BadItem` where the file is that of an image with another name than `stem` (a last part)."""
        named = self.image_name
        if named is None or stem == named:
            return
        if without_known_suffix(stem) != without_known_suffix(named):
            raise BadItem(f"label file of another image: its imagePath is {named!r}, not {stem!r}", path)


def parse_labelme(data: bytes, path: str) -> LabelmeFile:
    """Parse the bytes of one file; `path` names it in errors.

    Raises:
        BadItem: not JSON, or no list ``shapes``.
    """
    content = parse_json(data, path)
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list) or len(shapes) > _MOST_SHAPES:
        raise BadItem("no list `shapes` at the top level", path)
    named = content.get("imagePath")
    name = PureWindowsPath(named).name if isinstance(named, str) else ""
    objects, unread = rows_apart(list(enumerate(shapes)), lambda pair: _object(pair[1], f"shapes[{pair[0]}]", path))
    return LabelmeFile(name or None, _size(content, path), objects, unread)


def _size(content: Mapping[str, Any], path: str) -> tuple[int, int] | None:
    width, height = content.get("imageWidth"), content.get("imageHeight")
    if width is None or height is None:
        return None
    size = integer(width, "imageWidth", path), integer(height, "imageHeight", path)
    return size if min(size) > 0 else None


def _object(shape: Any, where: str, path: str) -> BoxObject:
    if not isinstance(shape, dict):
        raise BadItem(f"{where} is {shown(shape)}, an object is expected", path)
    label, kind = shape.get("label"), shape.get("shape_type", "polygon")
    if not isinstance(label, str) or not label.strip():
        raise BadItem(f"{where} has the label {shown(label)}", path)
    points = _points(shape.get("points"), where, path)
    if kind == "rectangle" and len(points) in _RECTANGLE_POINTS:
        (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        found = BoxObject(label.strip(), (x1, y1, x2, y2))
    elif kind in _OUTLINES and len(points) > 2:
        found = outlined_object(label.strip(), points)
    elif kind == "circle" and len(points) == 2:
        (x, y), radius = points[0].tolist(), float(np.hypot(*(points[1] - points[0])))
        found = BoxObject(label.strip(), (x - radius, y - radius, x + radius, y + radius))
    else:
        raise BadItem(f"{where} ({label!r}) is a {shown(kind)} of {len(points)} points, which is no box", path)
    found.difficult = flag(shape.get("difficult"), f"difficult of {where}", path)
    return found


def _points(points: Any, where: str, path: str) -> np.ndarray:
    """Points ``(N, 2)`` in pixels."""
    if not isinstance(points, list) or len(points) > _MOST_POINTS:
        raise BadItem(f"{where} has the points {shown(points)}, a list of x, y is expected", path)
    if not all(isinstance(point, list) and len(point) == 2 for point in points):
        raise BadItem(f"{where} has the points {shown(points)}, pairs of x, y are expected", path)
    numbers = [finite(value, f"a point of {where}", path) for point in points for value in point]
    return np.array(numbers, dtype=np.float64).reshape(-1, 2)
