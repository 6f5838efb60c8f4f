"""PASCAL VOC XML, and two forms of it with a ``robndbox``.

roLabelImg writes ``cx, cy, w, h, angle``; DIOR-R and MAR20 write four named corners, ``x_left_top`` to
``y_left_bottom``, clockwise on screen. An object may have a ``bndbox`` too, which is checked against it. DIOR-RSVG adds
a ``description`` to each object. Numbers are returned as written: whether edges are 0-based or exclusive is the
source's affair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
_ORIENTED_BOXES, _HORIZONTAL_BOXES = (_CORNERS, _ROTATED), (_EDGES,)
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
    nodes = root.findall("object")
    ordinary = zip(nodes, _ordinary_objects(nodes, lines), strict=True)
    rows = each_row(ordinary, lambda pair: pair[1] or _object(pair[0], path, lines.get(pair[0])))
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


@dataclass(frozen=True, slots=True)
class _OrdinaryForm:
    """Which child of an ordinary object says what; None where none does."""

    name: int
    box: int
    is_oriented: bool
    difficult: int | None
    truncated: int | None
    has_text: bool


def _form_of(tags: tuple[str, ...]) -> _OrdinaryForm | None:
    """Ordinary is one box of one kind, each tag once, and no tag that may turn a box; None is for anything else."""
    places = {tag: place for place, tag in enumerate(tags)}
    is_oriented = "robndbox" in places
    box = places.get("robndbox" if is_oriented else "bndbox")
    name = places.get("name")
    if box is None or name is None or len(places) < len(tags):
        return None
    if "bndbox" in places if is_oriented else not places.keys() <= _ORDINARY_TAGS:
        return None
    difficult, truncated = places.get("difficult"), places.get("truncated")
    return _OrdinaryForm(name, box, is_oriented, difficult, truncated, "description" in places)


def _ordinary_objects(nodes: Sequence[Element], lines: Mapping[Element, int]) -> list[BoxObject | None]:
    """The object of each node that has nothing unusual; None where `_object` must look at each of its parts.

    Objects of one file have the same tags in the same order, and their numbers are checked together: a look at each
    part of each object takes three times as long.
    """
    forms: dict[tuple[str, ...], _OrdinaryForm | None] = {}
    found: list[BoxObject | None] = []
    texts: list[str | None] = []
    kinds: list[tuple[str, ...] | None] = []
    for node in nodes:
        tags = tuple([child.tag for child in node])
        if tags not in forms:
            forms[tags] = _form_of(tags)
        form = forms[tags]
        one = None if form is None else _without_box(node, form, lines.get(node))
        kind = None if form is None or one is None else _kind_of(node[form.box], form.is_oriented)
        if form is not None and kind is not None:
            texts += [child.text for child in node[form.box]]
        found.append(None if kind is None else one)
        kinds.append(kind)
    return _with_boxes(found, kinds, texts)


def _without_box(node: Element, form: _OrdinaryForm, line: int | None) -> BoxObject | None:
    label = node[form.name].text
    label = label.strip() if label else None
    difficult = None if form.difficult is None else node[form.difficult].text
    truncated = None if form.truncated is None else node[form.truncated].text
    if not label or difficult not in _PLAIN_FLAGS or truncated not in _PLAIN_FLAGS:
        return None
    found = BoxObject(label, None, None, difficult == "1", truncated == "1", line)
    if form.has_text:
        found.text = node_text(node, "description")
    return found


def _kind_of(box: Element, is_oriented: bool) -> tuple[str, ...] | None:
    """The tags of a box that has those of one kind in their usual order, and no other."""
    tags = tuple([child.tag for child in box])
    return tags if tags in (_ORIENTED_BOXES if is_oriented else _HORIZONTAL_BOXES) else None


def _with_boxes(
    found: list[BoxObject | None], kinds: Sequence[tuple[str, ...] | None], texts: Sequence[str | None]
) -> list[BoxObject | None]:
    """The objects with the numbers of their boxes; all of them are None where one number is not plain."""
    numbers = None if None in texts else written_numbers(texts)  # type: ignore[arg-type]
    if numbers is None:
        return [None] * len(found)
    start = 0
    for place, (one, kind) in enumerate(zip(found, kinds, strict=True)):
        if one is None or kind is None:
            continue
        own = numbers[start : start + len(kind)]
        start += len(kind)
        if kind == _CORNERS:
            one.corners = own
        elif kind == _ROTATED:
            one.rotated = own  # type: ignore[assignment]
            found[place] = one if own[2] >= 0 and own[3] >= 0 else None
        else:
            one.box = own  # type: ignore[assignment]
            found[place] = one if own[0] <= own[2] and own[1] <= own[3] else None
    return found


def _object(node: Element, path: str, line: int | None) -> BoxObject:
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
