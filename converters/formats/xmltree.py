"""XML text to a tree that remembers lines, and values of its nodes, with errors that name the file and the place.

Document types and entities are refused, so entity bombs and external entities never expand.
"""

from __future__ import annotations

from collections.abc import Callable
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from converters.formats.text import finite, integer
from mmrs.errors import BadItem

# What annotation tools write for a flag or a value that nobody set.
UNSTATED = frozenset({"", "unspecified"})


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


def parse_tree(text: str, path: str, root_tag: str) -> tuple[Element, dict[Element, int]]:
    """The root node and the 1-based line of every node. Raises `BadItem` unless the root is a `root_tag`."""
    if not text.strip():
        raise BadItem("empty file, XML expected", path)
    builder = _LineBuilder()
    parser = DefusedXMLParser(target=builder, forbid_dtd=True, forbid_entities=True, forbid_external=True)
    expat = getattr(parser, "parser", None)
    if expat is not None:
        builder.current_line = lambda: expat.CurrentLineNumber
    try:
        parser.feed(text)
        root = parser.close()
    except ParseError as error:
        raise BadItem(f"not XML: {error}", path, error.position[0]) from error
    except DefusedXmlException as error:
        raise BadItem(f"document types and entities are refused: {type(error).__name__}", path) from error
    except ValueError as error:
        raise BadItem(f"not XML: {error}", path) from error
    if root.tag != root_tag:
        raise BadItem(f"root node is <{root.tag}>, <{root_tag}> expected", path, builder.lines.get(root))
    return root, builder.lines


def node_text(node: Element, tag: str) -> str | None:
    """Stripped text of the first child `tag` (a path of tags is understood); None where absent or empty."""
    text = node.findtext(tag)
    return text.strip() or None if text else None


def node_number(node: Element, tag: str, path: str, line: int | None) -> float:
    """The finite number in the child `tag`. Raises `BadItem` where it is absent or none."""
    text = node_text(node, tag)
    if text is None:
        raise BadItem(f"<{node.tag}> without <{tag}>", path, line)
    return finite(text, tag, path, line)


def node_flag(node: Element, tag: str, path: str, line: int | None) -> bool:
    """Whether the child `tag` is a whole number other than 0; absent and ``Unspecified`` are False."""
    text = node_text(node, tag) or ""
    return text.lower() not in UNSTATED and integer(text, tag, path, line) != 0


def node_size(root: Element, width_tag: str, height_tag: str, path: str) -> tuple[int, int] | None:
    """(width, height) in pixels, None where one is absent or 0, which is what tools write when they did not know."""
    width, height = node_text(root, width_tag), node_text(root, height_tag)
    if width is None or height is None:
        return None
    size = integer(width, width_tag, path), integer(height, height_tag, path)
    if min(size) < 0:
        raise BadItem(f"size {size[0]} x {size[1]} is negative", path)
    return size if min(size) > 0 else None
