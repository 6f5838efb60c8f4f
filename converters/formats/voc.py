"""PASCAL VOC XML, and the roLabelImg form of it with ``robndbox`` (cx, cy, w, h, angle).

Document types and entities are refused, so entity bombs and external entities never expand. Numbers are returned as
written: whether edges are 0-based or exclusive is the source's affair.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from converters.formats.shapes import BoxObject, check_box, check_rotated
from converters.formats.text import decode, finite, integer, read_bytes
from mmrs.errors import BadItem

UNSTATED = frozenset({"", "unspecified"})


@dataclass(frozen=True, slots=True)
class VocFile:
    """One VOC file; `size` is (width, height) in pixels where the file states it."""

    filename: str | None
    folder: str | None
    size: tuple[int, int] | None
    objects: tuple[BoxObject, ...]


class _LineBuilder(TreeBuilder):
    """Tree builder that remembers the line of every start tag."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[Element, int] = {}
        self.current_line: Callable[[], int | None] = lambda: None

    def start(self, tag, attrs):  # type: ignore[no-untyped-def]
        element = super().start(tag, attrs)
        line = self.current_line()
        if line is not None:
            self.lines[element] = line
        return element


def read_voc(path: Path) -> VocFile:
    """Read one VOC file. Raises `BadItem`."""
    return parse_voc(read_bytes(path), str(path))


def parse_voc(data: bytes, path: str) -> VocFile:
    """Parse the bytes of one VOC file; `path` names it in errors.

    Raises:
        BadItem: not UTF-8, not XML, document type or entities, missing nodes, numbers that are none, inverted boxes.
    """
    root, lines = _parse_tree(decode(data, path), path)
    if root.tag != "annotation":
        raise BadItem(f"root node is <{root.tag}>, <annotation> expected", path, lines.get(root))
    objects = tuple(_object(node, path, lines.get(node)) for node in root.findall("object"))
    return VocFile(_text(root, "filename"), _text(root, "folder"), _size(root, path), objects)


def check_names_image(voc: VocFile, stem: str, path: str) -> None:
    """Raise `BadItem` when the file's ``filename`` (with or without suffix) is another image's."""
    if voc.filename is None:
        return
    named = PureWindowsPath(voc.filename)
    if stem not in (named.name, named.stem):
        raise BadItem(f"label file of another image: its filename is {voc.filename!r}, not {stem!r}", path)


def _parse_tree(text: str, path: str) -> tuple[Element, dict[Element, int]]:
    if not text.strip():
        raise BadItem("empty file, XML expected", path)
    builder = _LineBuilder()
    parser = DefusedXMLParser(target=builder, forbid_dtd=True, forbid_entities=True, forbid_external=True)
    expat = getattr(parser, "parser", None)
    if expat is not None:
        builder.current_line = lambda: expat.CurrentLineNumber
    try:
        parser.feed(text)
        return parser.close(), builder.lines
    except ParseError as error:
        raise BadItem(f"not XML: {error}", path, error.position[0]) from error
    except DefusedXmlException as error:
        raise BadItem(f"document types and entities are refused: {type(error).__name__}", path) from error
    except ValueError as error:
        raise BadItem(f"not XML: {error}", path) from error


def _text(node: Element, tag: str) -> str | None:
    text = node.findtext(tag)
    return text.strip() or None if text else None


def _size(root: Element, path: str) -> tuple[int, int] | None:
    width, height = _text(root, "size/width"), _text(root, "size/height")
    if width is None or height is None:
        return None
    size = integer(width, "size/width", path), integer(height, "size/height", path)
    if min(size) < 0:
        raise BadItem(f"size {size[0]} x {size[1]} is negative", path)
    # Zero is what annotation tools write when they did not know.
    return size if min(size) > 0 else None


def _object(node: Element, path: str, line: int | None) -> BoxObject:
    label = _text(node, "name")
    if label is None:
        raise BadItem("object without <name>", path, line)
    horizontal, rotated = node.find("bndbox"), node.find("robndbox")
    if (horizontal is None) == (rotated is None):
        found = "both" if horizontal is not None else "neither"
        raise BadItem(f"object {label!r} has {found} of <bndbox> and <robndbox>, one expected", path, line)
    box = rotated_box = None
    if horizontal is not None:
        x1, y1, x2, y2 = (_number(horizontal, tag, path, line) for tag in ("xmin", "ymin", "xmax", "ymax"))
        box = check_box((x1, y1, x2, y2), path, line)
    if rotated is not None:
        cx, cy, w, h, angle = (_number(rotated, tag, path, line) for tag in ("cx", "cy", "w", "h", "angle"))
        rotated_box = check_rotated((cx, cy, w, h, angle), path, line)
    return BoxObject(
        label, box, rotated_box, _flag(node, "difficult", path, line), _flag(node, "truncated", path, line), line
    )


def _number(node: Element, tag: str, path: str, line: int | None) -> float:
    text = _text(node, tag)
    if text is None:
        raise BadItem(f"<{node.tag}> without <{tag}>", path, line)
    return finite(text, tag, path, line)


def _flag(node: Element, tag: str, path: str, line: int | None) -> bool:
    text = _text(node, tag) or ""
    return text.lower() not in UNSTATED and integer(text, tag, path, line) != 0
