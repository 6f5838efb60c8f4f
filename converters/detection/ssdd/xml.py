"""The XML of Official-SSDD: PASCAL VOC with ``rotated_bndbox`` and ``segm`` beside or instead of ``bndbox``.

``rotated_bndbox`` holds four corners and, as a check of them, centre, sides and an angle in degrees: the direction of
the w side, clockwise on screen, in (0, 90]. ``segm`` holds ``point-1``, ``point-2``, ... with the text ``x,y``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from converters.formats.polygons import as_corners, min_area_corners
from converters.formats.rows import each_row
from converters.formats.shapes import BoxObject, check_box
from converters.formats.text import decode, finite, read_bytes
from converters.formats.voc import VocFile
from converters.formats.xmltree import node_flag, node_number, node_size, node_text, parse_tree
from mmrs.errors import BadItem
from mmrs.geometry import Array, canonical_quad, quad_from_rotated

_CORNERS = tuple(f"{axis}{number}" for number in range(1, 5) for axis in "xy")
_ROTATED = ("cx", "cy", "w", "h", "theta")
# Corners are rounded to whole pixels, which moves them by up to 1.5 px against the angle; a wrong angle by far more.
ANGLE_TOLERANCE_PIXELS = 3.0


def read_ssdd(path: Path) -> VocFile:
    """Read one file. Raises `BadItem`."""
    return parse_ssdd(read_bytes(path), str(path))


def parse_ssdd(data: bytes, path: str) -> VocFile:
    """Parse the bytes of one file; `path` names it in errors.

    An object's `corners` are the stored ones, or the least rectangle around its polygon where there are none. Five raw
    numbers stand in ``flags["rotated"]``; ``flags["angle_disagrees_px"]`` says how far the corners lie from them.

    An object without any kind of box, or with numbers that are none, is a row that was not understood.

    Raises:
        BadItem: not UTF-8, or not XML.
    """
    root, lines = parse_tree(decode(data, path), path, "annotation", "object")
    rows = each_row(root.findall("object"), lambda node: _object(node, path, lines.get(node)))
    size = node_size(root, "size/width", "size/height", path)
    return VocFile(node_text(root, "filename"), node_text(root, "folder"), size, rows)


def _object(node: Element, path: str, line: int | None) -> BoxObject:
    label = node_text(node, "name")
    if label is None:
        raise BadItem("object without <name>", path, line)
    horizontal, rotated, polygon = node.find("bndbox"), node.find("rotated_bndbox"), node.find("segm")
    if horizontal is None and rotated is None and polygon is None:
        raise BadItem(f"object {label!r} has none of <bndbox>, <rotated_bndbox> and <segm>", path, line)
    box = corners = None
    flags: dict[str, Any] = {}
    if polygon is not None:
        points = _points(polygon, path, line)
        box, corners = _extent(points, path, line), as_corners(min_area_corners(points))
    if rotated is not None:
        corners = tuple(node_number(rotated, tag, path, line) for tag in _CORNERS)
        flags = _angle(rotated, corners, path, line)
    if horizontal is not None:
        x1, y1, x2, y2 = (node_number(horizontal, tag, path, line) for tag in ("xmin", "ymin", "xmax", "ymax"))
        box = check_box((x1, y1, x2, y2), path, line)
    difficult, truncated = (node_flag(node, tag, path, line) for tag in ("difficult", "truncated"))
    return BoxObject(label, box, None, difficult, truncated, line, corners, flags=flags)


def _angle(node: Element, corners: tuple[float, ...], path: str, line: int | None) -> dict[str, Any]:
    if node.find("rotated_bbox_theta") is None:
        return {}
    raw = [node_number(node, f"rotated_bbox_{name}", path, line) for name in _ROTATED]
    rebuilt = canonical_quad(quad_from_rotated([(*raw[:4], np.deg2rad(raw[4]))]))[0]
    stored = canonical_quad([corners])[0]
    # The first corner may differ by rounding, so the best of the four turns counts.
    errors = [np.abs(np.roll(rebuilt, turn, axis=0) - stored).max() for turn in range(4)]
    flags: dict[str, Any] = {"rotated": raw}
    if min(errors) > ANGLE_TOLERANCE_PIXELS:
        flags["angle_disagrees_px"] = round(float(min(errors)), 2)
    return flags


def _points(node: Element, path: str, line: int | None) -> Array:
    numbers = []
    for child in node:
        if not str(child.tag).startswith("point"):
            continue
        words = (child.text or "").split(",")
        if len(words) != 2:
            raise BadItem(f"<{child.tag}> is {child.text!r}, the text x,y is expected", path, line)
        numbers.append([finite(word, str(child.tag), path, line) for word in words])
    if len(numbers) < 3:
        raise BadItem(f"<segm> has {len(numbers)} points, three or more are expected", path, line)
    return np.array(numbers, dtype=np.float64)


def _extent(points: Array, path: str, line: int | None) -> tuple[float, float, float, float]:
    (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return check_box((x1, y1, x2, y2), path, line)
