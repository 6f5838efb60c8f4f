"""PASCAL VOC XML, and two forms of it with a ``robndbox``.

roLabelImg writes ``cx, cy, w, h, angle``; DIOR-R and MAR20 write four named corners, ``x_left_top`` to
``y_left_bottom``, clockwise on screen. An object may have a ``bndbox`` too, which is checked against it. DIOR-RSVG adds
a ``description`` to each object. Numbers are returned as written: whether edges are 0-based or exclusive is the
source's affair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from converters.formats.rows import apart, each_row
from converters.formats.shapes import BoxObject, check_box, check_rotated
from converters.formats.text import decode, read_bytes, written_numbers
from converters.formats.turned import ROTATION, UNKNOWN_TURNS, turned
from converters.formats.xmltree import node_flag, node_number, node_size, node_text, parse_tree
from mmrs.errors import BadItem
from mmrs.geometry import as_quads, box_iou, hbb_from_quad, quad_from_rotated
from mmrs.imaging.suffixes import without_known_suffix
from mmrs.record import HBB, UnreadRow

# Edges written beside an oriented box are rounded, some count from 1, and both may be drawn by hand.
SAME_EDGE_PIXELS = 1.0
LEAST_EXTENT_IOU = 0.5
TURNING_TAGS = frozenset({ROTATION, *UNKNOWN_TURNS})
_PLACES = ("left_top", "right_top", "right_bottom", "left_bottom")
_CORNERS = tuple(f"{axis}_{place}" for place in _PLACES for axis in "xy")
_EDGES, _ROTATED = ("xmin", "ymin", "xmax", "ymax"), ("cx", "cy", "w", "h", "angle")
_ORDINARY_TAGS = frozenset({"name", "pose", "type", "truncated", "difficult", "occluded", "bndbox", "description"})
_ORDINARY_BOXES = frozenset({_CORNERS, _EDGES, _ROTATED})
_PLAIN_FLAGS = frozenset({None, "0", "1"})


@dataclass(frozen=True, slots=True)
class VocFile:
    """One VOC file; `size` is (width, height) in pixels where the file states it.

    `rows` has every object in file order, those that cannot be used as `UnreadRow`.
    """

    filename: str | None
    folder: str | None
    size: tuple[int, int] | None
    rows: tuple[BoxObject | UnreadRow, ...]

    @property
    def objects(self) -> tuple[BoxObject, ...]:
        """The objects that can be used, in file order."""
        return apart(self.rows)[0]

    @property
    def unread(self) -> tuple[UnreadRow, ...]:
        """The objects that cannot be used: missing nodes, numbers that are none, inverted boxes."""
        return apart(self.rows)[1]


def read_voc(path: Path) -> VocFile:
    """Read one VOC file. Raises `BadItem`."""
    return parse_voc(read_bytes(path), str(path))


def parse_voc(data: bytes, path: str) -> VocFile:
    """Parse the bytes of one VOC file.

    Args:
        data: the file.
        path: names it in errors.

    Raises:
        BadItem: the file as a whole cannot be used: not UTF-8, not XML, document type or entities.
    """
    root, lines = parse_tree(decode(data, path), path, "annotation", "object")
    rows = each_row(root.findall("object"), lambda node: _object(node, path, lines.get(node)))
    size = node_size(root, "size/width", "size/height", path)
    return VocFile(node_text(root, "filename"), node_text(root, "folder"), size, rows)


def _fields(node: Element, box: Element) -> dict[str, Any]:
    """What an object says of its box: in ``attributes`` (of CVAT pairs of name and value), in the box, beside it."""
    attributes = node.find("attributes")
    inner = [] if attributes is None else list(attributes)
    fields: dict[str, Any] = {
        (pair.findtext("name") or "").strip().lower(): pair.findtext("value")
        for pair in inner
        if pair.tag == "attribute"
    }
    named = [child for child in (*inner, *node, *box) if str(child.tag).lower() in TURNING_TAGS]
    return fields | {str(child.tag).lower(): (child.text or "").strip() or None for child in named}


def check_names_image(voc: VocFile, stem: str, path: str) -> None:
    """Raise `BadItem` when the file's ``filename`` (with or without suffix) is another image's."""
    if voc.filename is None:
        return
    named = voc.filename
    if any(mark in named for mark in "/\\:") or named.startswith("."):
        named = PureWindowsPath(named).name
    plain = without_known_suffix(named)
    # A stem that was told from another one by its suffix has the label file of its plain name.
    if stem not in (named, plain) and without_known_suffix(stem) != plain:
        raise BadItem(f"label file of another image: its filename is {voc.filename!r}, not {stem!r}", path)


def _ordinary(node: Element, line: int | None) -> BoxObject | None:
    """The object of a node that has nothing unusual; None where `_object` must look at each of its parts.

    Ordinary is one box of one kind, each tag once, numbers without blanks, and no tag that may turn a box.
    """
    children = {child.tag: child for child in node}
    box = children.get("robndbox")
    is_oriented = box is not None
    if box is None:
        box = children.get("bndbox")
    if box is None or len(children) != len(node):
        return None
    if "bndbox" in children if is_oriented else not children.keys() <= _ORDINARY_TAGS:
        return None
    numbers = _ordinary_numbers(box)
    label, difficult, truncated = _text(children, "name"), _text(children, "difficult"), _text(children, "truncated")
    label = label.strip() if label else None
    if numbers is None or not label or difficult not in _PLAIN_FLAGS or truncated not in _PLAIN_FLAGS:
        return None
    found = BoxObject(label, None, None, difficult == "1", truncated == "1", line)
    if "description" in children:
        found.text = node_text(node, "description")
    if len(numbers) == len(_CORNERS):
        found.corners = numbers
        return found if is_oriented else None
    if is_oriented:
        cx, cy, w, h, angle = numbers if len(numbers) == len(_ROTATED) else (0.0, 0.0, -1.0, -1.0, 0.0)
        found.rotated = (cx, cy, w, h, angle)
        return found if w >= 0 and h >= 0 else None
    x1, y1, x2, y2 = numbers if len(numbers) == len(_EDGES) else (0.0, 0.0, -1.0, -1.0)
    found.box = (x1, y1, x2, y2)
    return found if x1 <= x2 and y1 <= y2 else None


def _text(children: Mapping[str, Element], tag: str) -> str | None:
    child = children.get(tag)
    return None if child is None else child.text


def _ordinary_numbers(box: Element) -> tuple[float, ...] | None:
    """The numbers of a box that has the tags of one kind in their usual order, and no other."""
    if tuple([child.tag for child in box]) not in _ORDINARY_BOXES:
        return None
    texts = [child.text for child in box]
    return None if None in texts else written_numbers(texts)  # type: ignore[arg-type]


def _object(node: Element, path: str, line: int | None) -> BoxObject:
    ordinary = _ordinary(node, line)
    if ordinary is not None:
        return ordinary
    label = node_text(node, "name")
    if label is None:
        raise BadItem("object without <name>", path, line)
    horizontal, rotated = node.find("bndbox"), node.find("robndbox")
    if rotated is not None:
        found = _oriented(rotated, label, path, line)
        if horizontal is not None:
            edges = check_box(_edges(horizontal, path, line), path, line)
            found = replace(found, box=_true_extent(found, edges, path, line))
    elif horizontal is not None:
        found = turned(_fields(node, horizontal), _edges(horizontal, path, line), label, path, line)
    else:
        raise BadItem(f"object {label!r} has neither of <bndbox> and <robndbox>", path, line)
    return replace(
        found,
        difficult=node_flag(node, "difficult", path, line),
        truncated=node_flag(node, "truncated", path, line),
        text=node_text(node, "description"),
    )


def _edges(node: Element, path: str, line: int | None) -> HBB:
    x1, y1, x2, y2 = (node_number(node, tag, path, line) for tag in _EDGES)
    return x1, y1, x2, y2


def _oriented(node: Element, label: str, path: str, line: int | None) -> BoxObject:
    if node.find(_CORNERS[0]) is not None:
        corners = tuple(node_number(node, tag, path, line) for tag in _CORNERS)
        return BoxObject(label, line=line, corners=corners)
    cx, cy, w, h, angle = (node_number(node, tag, path, line) for tag in _ROTATED)
    return BoxObject(label, rotated=check_rotated((cx, cy, w, h, angle), path, line), line=line)


def _true_extent(obj: BoxObject, edges: HBB, path: str, line: int | None) -> HBB | None:
    """The ``bndbox`` beside an oriented box, which is the more precise one; None where it is that box unturned.

    Raises:
        BadItem: the two lie in different places, so nobody knows which one is right.
    """
    if obj.rotated is not None:
        cx, cy, w, h, angle = obj.rotated
        unturned = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
        if angle and np.abs(np.subtract(unturned, edges)).max() <= SAME_EDGE_PIXELS:
            return None
        quads = quad_from_rotated([obj.rotated])
    else:
        quads = as_quads([obj.corners or ()])
    iou = float(box_iou([edges], hbb_from_quad(quads))[0, 0])
    if iou < LEAST_EXTENT_IOU:
        reason = f"object {obj.label!r} has a <bndbox> and a <robndbox> in different places (IoU {iou:.2f})"
        raise BadItem(reason, path, line)
    return edges
