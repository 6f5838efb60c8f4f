"""XML text to a tree that remembers lines, and values of its nodes, with errors that name the file and the place.

Document types and entities are refused, so entity bombs and external entities never expand.
"""

from __future__ import annotations

from collections.abc import Callable
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from converters.formats.text import finite, flag, integer
from mmrs.errors import BadItem

# What annotation tools write for a flag or a value that nobody set.
UNSTATED = frozenset({"", "unspecified"})
DOCUMENT_TYPE = "<!DOCTYPE"

_AFTER_TAG = frozenset(" \t\r\n/>")

Lines = dict[Element, int]


class _LineBuilder(TreeBuilder):
    """Tree builder that remembers the line of every start tag."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: Lines = {}
        self.current_line: Callable[[], int | None] = lambda: None

    def start(self, tag, attrs):  # type: ignore[no-untyped-def]
        element = super().start(tag, attrs)
        line = self.current_line()
        if line is not None:
            self.lines[element] = line
        return element


def parse_tree(text: str, path: str, root_tag: str, lined_tag: str) -> tuple[Element, Lines]:
    """The root node and the 1-based line of every node `lined_tag`. Raises `BadItem` unless the root is a `root_tag`.

    Entities cannot exist without a document type, so text that never says `DOCUMENT_TYPE` goes through the fast parser
    of the standard library; all other text goes through the one that refuses both.
    """
    if not text.strip():
        raise BadItem("empty file, XML expected", path)
    try:
        root, lines = _fast(text, lined_tag) or _guarded(text)
    except ParseError as error:
        raise BadItem(f"not XML: {error}", path, error.position[0]) from error
    except DefusedXmlException as error:
        raise BadItem(f"document types and entities are refused: {type(error).__name__}", path) from error
    except ValueError as error:
        raise BadItem(f"not XML: {error}", path) from error
    if root.tag != root_tag:
        raise BadItem(f"root node is <{root.tag}>, <{root_tag}> expected", path, lines.get(root, 1))
    return root, lines


def _fast(text: str, lined_tag: str) -> tuple[Element, Lines] | None:
    """Root and lines; None where the text must be guarded, or has tags in comments so that lines cannot be told."""
    if DOCUMENT_TYPE in text:
        return None
    parser = XMLParser()
    parser.feed(text)
    root = parser.close()
    nodes = list(root.iter(lined_tag))
    starts = _start_lines(text, lined_tag)
    # Every node has a start tag in the text, so equal numbers mean that the tags are those of the nodes.
    return (root, dict(zip(nodes, starts, strict=True))) if len(nodes) == len(starts) else None


def _start_lines(text: str, tag: str) -> list[int]:
    """The 1-based line of every start tag, those in comments included; without patterns: ten times as fast."""
    before, *pieces = text.split(f"<{tag}")
    lines, line = [], 1 + before.count("\n")
    for piece in pieces:
        if piece[:1] in _AFTER_TAG:
            lines.append(line)
        line += piece.count("\n")
    return lines


def _guarded(text: str) -> tuple[Element, Lines]:
    builder = _LineBuilder()
    parser = DefusedXMLParser(target=builder, forbid_dtd=True, forbid_entities=True, forbid_external=True)
    expat = getattr(parser, "parser", None)
    if expat is not None:
        builder.current_line = lambda: expat.CurrentLineNumber
    parser.feed(text)
    return parser.close(), builder.lines


def node_text(node: Element, tag: str) -> str | None:
    """Stripped text of the first child `tag` (a path of tags is understood); None where absent or empty."""
    text = node.findtext(tag)
    return text.strip() or None if text else None


def _deep_text(root: Element, path: str) -> str | None:
    """As `node_text` of a path of two tags, which `ElementTree` walks slowly; nearly always the first match is it."""
    parent, _, tag = path.rpartition("/")
    first = root.find(parent) if parent else root
    return (None if first is None else node_text(first, tag)) or node_text(root, path)


def node_number(node: Element, tag: str, path: str, line: int | None) -> float:
    """The finite number in the child `tag`. Raises `BadItem` where it is absent or none."""
    text = node_text(node, tag)
    if text is None:
        raise BadItem(f"<{node.tag}> without <{tag}>", path, line)
    return finite(text, tag, path, line)


def node_flag(node: Element, tag: str, path: str, line: int | None) -> bool:
    """Whether the child `tag` is a yes (`converters.formats.text.flag`) or a number other than 0; absent ones are not.

    ``Unspecified`` is no too.
    """
    text = node_text(node, tag)
    if text is None or text == "0" or text.lower() in UNSTATED:
        return False
    return flag(text, tag, path, line) if text.isalpha() else integer(text, tag, path, line) != 0


def node_size(root: Element, width_tag: str, height_tag: str, path: str) -> tuple[int, int] | None:
    """(width, height) in pixels, None where one is absent or 0, which is what tools write when they did not know."""
    width, height = _deep_text(root, width_tag), _deep_text(root, height_tag)
    if width is None or height is None:
        return None
    size = integer(width, width_tag, path), integer(height, height_tag, path)
    if min(size) < 0:
        raise BadItem(f"size {size[0]} x {size[1]} is negative", path)
    return size if min(size) > 0 else None
