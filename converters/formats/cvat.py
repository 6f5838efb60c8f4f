"""CVAT for images 1.1: one XML file for all images, with boxes, polygons, masks, ellipses and tags.

A box may be turned (``rotation``, degrees clockwise on screen about its centre); a polygon has its extent and the
rectangle of least area around it; of a mask the place of its pixels is taken as it is stated. Polylines, points,
skeletons and cuboids are no boxes: rows that are not read. CVAT for video holds tracks of a film and no images, and is
refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from converters.formats.polygons import outlined_object
from converters.formats.shapes import BoxObject, check_box
from converters.formats.text import decode, finite, integer, read_bytes, shown
from converters.formats.turned import ROTATION, turned
from converters.formats.xmltree import parse_tree
from mmrs.errors import BadItem

TAG = "tag"
_VIDEO = "export the task as `CVAT for images 1.1`, which has the frames as images"
_EDGES = ("xtl", "ytl", "xbr", "ybr")
_PLACE = ("left", "top", "width", "height")
_ELLIPSE = ("cx", "cy", "rx", "ry")
_UNUSED = frozenset({"rle"})
_MOST_POINTS = 100_000


@dataclass(frozen=True, slots=True)
class CvatImage:
    """One image: its name as written, (width, height) in pixels, and its shapes and tags as plain values.

    A shape is ``{"kind": "box", "line": 12, "fields": {...}, **attributes}``; `shape_object` reads it.
    """

    name: str
    size: tuple[int, int] | None
    shapes: tuple[Mapping[str, Any], ...]
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CvatFile:
    """Images in file order, and `problems` (path, reason) of those left out."""

    images: tuple[CvatImage, ...]
    problems: tuple[tuple[str, str], ...]


def read_cvat(path: Path) -> CvatFile:
    """Read one file. Raises `BadItem`."""
    return parse_cvat(read_bytes(path), str(path))


def parse_cvat(data: bytes, path: str) -> CvatFile:
    """Parse the bytes of one file; `path` names it in errors.

    Raises:
        BadItem: not XML, another root, or tracks of a video.
    """
    root, lines = parse_tree(decode(data, path), path, "annotations", "image")
    tracks = len(root.findall("track"))
    if tracks:
        raise BadItem(f"it has {tracks} tracks of a video and their frames are no images", path, remedy=_VIDEO)
    images, problems = [], []
    for node in root.findall("image"):
        try:
            images.append(_image(node, path, lines.get(node)))
        except BadItem as error:
            problems.append((f"{path}:{error.line}" if error.line else path, error.reason))
    return CvatFile(tuple(images), tuple(problems))


def _image(node: Element, path: str, line: int | None) -> CvatImage:
    name = node.get("name", "").strip()
    if not name:
        raise BadItem(f"image {shown(node.get('id'))} has no name", path, line)
    width, height = node.get("width"), node.get("height")
    size = None
    if width is not None and height is not None:
        size = integer(width, "width", path, line), integer(height, "height", path, line)
    tags = tuple(child.get("label", "") for child in node if child.tag == TAG)
    shapes = tuple(_shape(child, line) for child in node if child.tag != TAG)
    return CvatImage(name, size if size and min(size) > 0 else None, shapes, tags)


def _shape(node: Element, line: int | None) -> dict[str, Any]:
    fields = {child.get("name", "").strip().lower(): (child.text or "").strip() for child in node.iter("attribute")}
    own = {key: value for key, value in node.attrib.items() if key not in _UNUSED}
    return {**own, "kind": str(node.tag), "line": line, "fields": fields}


def shape_object(shape: Mapping[str, Any], path: str) -> BoxObject:
    """The object of a shape. Raises `BadItem` for one that is no box, or has no label or no numbers."""
    label, kind, line = str(shape.get("label", "")).strip(), shape["kind"], shape["line"]
    if not label:
        raise BadItem(f"a {shown(kind)} without label", path, line)
    fields = {**shape["fields"], **({ROTATION: shape[ROTATION]} if shape.get(ROTATION) else {})}
    if kind == "box":
        x1, y1, x2, y2 = _numbers(shape, _EDGES, path)
        return turned(fields, (x1, y1, x2, y2), label, path, line)
    if kind == "mask":
        left, top, width, height = _numbers(shape, _PLACE, path)
        return BoxObject(label, check_box((left, top, left + width, top + height), path, line), line=line)
    if kind == "ellipse":
        cx, cy, rx, ry = _numbers(shape, _ELLIPSE, path)
        if rx < 0 or ry < 0:
            raise BadItem(f"{label!r} is an ellipse of negative size", path, line)
        found = _ellipse((cx, cy, rx, ry), finite(fields.get(ROTATION, 0), ROTATION, path, line), label)
        found.line = line
        return found
    if kind == "polygon":
        found = outlined_object(label, _points(shape, path))
        found.line = line
        return found
    raise BadItem(f"{label!r} is a {shown(kind)}, which is no box", path, line)


def _numbers(shape: Mapping[str, Any], names: tuple[str, ...], path: str) -> tuple[float, float, float, float]:
    a, b, c, d = (finite(shape.get(name), f"{name} of a {shape['kind']}", path, shape["line"]) for name in names)
    return a, b, c, d


def _ellipse(ellipse: tuple[float, float, float, float], degrees: float, label: str) -> BoxObject:
    """The extent of an ellipse (cx, cy, rx, ry) as it is drawn, and the turned rectangle around a turned one."""
    cx, cy, rx, ry = ellipse
    angle = math.radians(degrees % 360)
    half_width = math.hypot(rx * math.cos(angle), ry * math.sin(angle))
    half_height = math.hypot(rx * math.sin(angle), ry * math.cos(angle))
    box = (cx - half_width, cy - half_height, cx + half_width, cy + half_height)
    return BoxObject(label, box, rotated=(cx, cy, 2 * rx, 2 * ry, angle) if degrees % 360 else None)


def _points(shape: Mapping[str, Any], path: str) -> np.ndarray:
    """Points ``(N, 2)`` of ``x,y;x,y``, in pixels."""
    pairs = [pair.split(",") for pair in str(shape.get("points", "")).split(";")]
    if not 2 < len(pairs) <= _MOST_POINTS or any(len(pair) != 2 for pair in pairs):
        raise BadItem(f"a {shape['kind']} has the points {shown(shape.get('points'))}", path, shape["line"])
    numbers = [finite(number, "a point", path, shape["line"]) for pair in pairs for number in pair]
    return np.array(numbers, dtype=np.float64).reshape(-1, 2)
