"""PASCAL VOC XML, and two forms of it with a ``robndbox``.

roLabelImg writes ``cx, cy, w, h, angle``; DIOR-R and MAR20 write four named corners, ``x_left_top`` to
``y_left_bottom``, clockwise on screen. DIOR-RSVG adds a ``description`` to each object. Numbers are returned as
written: whether edges are 0-based or exclusive is the source's affair.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any
from xml.etree.ElementTree import Element

from converters.formats.rows import rows_apart
from converters.formats.shapes import BoxObject, check_rotated
from converters.formats.text import decode, read_bytes
from converters.formats.turned import ROTATION, UNKNOWN_TURNS, turned
from converters.formats.xmltree import node_flag, node_number, node_size, node_text, parse_tree
from mmrs.errors import BadItem
from mmrs.imaging.suffixes import without_known_suffix
from mmrs.record import UnreadRow

TURNING_TAGS = frozenset({ROTATION, *UNKNOWN_TURNS})
_PLACES = ("left_top", "right_top", "right_bottom", "left_bottom")
_CORNERS = tuple(f"{axis}_{place}" for place in _PLACES for axis in "xy")


@dataclass(frozen=True, slots=True)
class VocFile:
    """One VOC file; `size` is (width, height) in pixels where the file states it."""

    filename: str | None
    folder: str | None
    size: tuple[int, int] | None
    objects: tuple[BoxObject, ...]


def read_voc(path: Path) -> VocFile:
    """Read one VOC file. Raises `BadItem`."""
    return parse_voc(read_bytes(path), str(path))


def parse_voc(data: bytes, path: str) -> VocFile:
    """Parse the bytes of one VOC file.

    Args:
        data: the file.
        path: names it in errors.

    Raises:
        BadItem: not UTF-8, not XML, document type or entities, missing nodes, numbers that are none, inverted boxes.
    """
    voc, unread = parse_voc_rows(data, path)
    if unread:
        raise BadItem(unread[0].reason, path, unread[0].line)
    return voc


def parse_voc_rows(data: bytes, path: str) -> tuple[VocFile, tuple[UnreadRow, ...]]:
    """As `parse_voc`, with the objects that cannot be used named beside the others.

    Raises:
        BadItem: the file as a whole cannot be used.
    """
    root, lines = parse_tree(decode(data, path), path, "annotation", "object")
    objects, unread = rows_apart(root.findall("object"), lambda node: _object(node, path, lines.get(node)))
    size = node_size(root, "size/width", "size/height", path)
    return VocFile(node_text(root, "filename"), node_text(root, "folder"), size, objects), unread


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
    named = PureWindowsPath(voc.filename).name
    plain = without_known_suffix(named)
    # A stem that was told from another one by its suffix has the label file of its plain name.
    if stem not in (named, plain) and without_known_suffix(stem) != plain:
        raise BadItem(f"label file of another image: its filename is {voc.filename!r}, not {stem!r}", path)


def _object(node: Element, path: str, line: int | None) -> BoxObject:
    label = node_text(node, "name")
    if label is None:
        raise BadItem("object without <name>", path, line)
    horizontal, rotated = node.find("bndbox"), node.find("robndbox")
    if (horizontal is None) == (rotated is None):
        found = "both" if horizontal is not None else "neither"
        raise BadItem(f"object {label!r} has {found} of <bndbox> and <robndbox>, one expected", path, line)
    box = rotated_box = corners = None
    flags: dict[str, Any] = {}
    if horizontal is not None:
        x1, y1, x2, y2 = (node_number(horizontal, tag, path, line) for tag in ("xmin", "ymin", "xmax", "ymax"))
        stated = turned(_fields(node, horizontal), (x1, y1, x2, y2), label, path, line)
        box, rotated_box, flags = stated.box, stated.rotated, stated.flags
    elif rotated is not None and rotated.find(_CORNERS[0]) is not None:
        corners = tuple(node_number(rotated, tag, path, line) for tag in _CORNERS)
    elif rotated is not None:
        cx, cy, w, h, angle = (node_number(rotated, tag, path, line) for tag in ("cx", "cy", "w", "h", "angle"))
        rotated_box = check_rotated((cx, cy, w, h, angle), path, line)
    return BoxObject(
        label,
        box,
        rotated_box,
        node_flag(node, "difficult", path, line),
        node_flag(node, "truncated", path, line),
        line,
        corners,
        flags=flags,
        text=node_text(node, "description"),
    )
