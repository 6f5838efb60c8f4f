"""PASCAL VOC XML as the sources write it.

A node is (tag, content): text, a number, or a sequence of child nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

Node = tuple[str, Any]
_PLACES = ("left_top", "right_top", "right_bottom", "left_bottom")


def document(nodes: Iterable[Node], indent: str | None = "\t", declaration: str = "", root: str = "annotation") -> str:
    """``<root>`` over `nodes`: one node a line, or all in one line where `indent` is None."""
    lines = [f"<{root}>", *_lines(nodes, indent or "", 1), f"</{root}>"]
    if indent is None:
        return declaration + "".join(lines)
    return "\n".join([*([declaration] if declaration else []), *lines]) + "\n"


def head(filename: str, database: str, size: tuple[int, int] | None, depth: int = 3) -> list[Node]:
    """File name, source and (width, height) as VOC files begin."""
    sides: list[Node] = []
    if size is not None:
        sides = [("size", [("width", size[0]), ("height", size[1]), ("depth", depth)])]
    return [("filename", filename), ("source", [("database", database)]), *sides, ("segmented", 0)]


def bndbox(edges: Sequence[int]) -> Node:
    """A horizontal box from xmin, ymin, xmax, ymax."""
    return "bndbox", list(zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=True))


def corner_box(corners: Sequence[tuple[float, float]]) -> Node:
    """The ``robndbox`` of DIOR-R and MAR20 from four corners."""
    nodes: list[Node] = []
    for place, (x, y) in zip(_PLACES, corners, strict=True):
        nodes += [(f"x_{place}", x), (f"y_{place}", y)]
    return "robndbox", nodes


def flags(**values: int) -> list[Node]:
    """Nodes such as ``<difficult>0</difficult>``."""
    named: Mapping[str, int] = values
    return list(named.items())


def _lines(nodes: Iterable[Node], indent: str, depth: int) -> Iterable[str]:
    for tag, content in nodes:
        if isinstance(content, str | int | float):
            yield f"{indent * depth}<{tag}>{escape(str(content))}</{tag}>"
        else:
            yield f"{indent * depth}<{tag}>"
            yield from _lines(content, indent, depth + 1)
            yield f"{indent * depth}</{tag}>"
