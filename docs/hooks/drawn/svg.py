"""A few shapes of SVG as text. Colours and fonts come from ``stylesheets/site.css``, by class.

drawsvg and svgwrite would do the same; five functions are less than a dependency.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

Point = tuple[float, float]
_LINE = 17
_HEAD = 7


def drawing(width: int, height: int, label: str, parts: Iterable[str]) -> str:
    """A whole picture, on one line: a blank line would end the HTML block that Markdown takes it for.

    Narrow pages scroll it: letters stay as large as those beside it.
    """
    content = "".join(parts)
    size = f'viewBox="0 0 {width} {height}" style="min-width:{width / 26:.0f}rem"'
    return f'<svg {size} role="img" aria-label="{escape(label)}">{content}</svg>'


def rectangle(x: float, y: float, width: float, height: float, kind: str = "", radius: float = 5) -> str:
    return f'<rect class="box {kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}"/>'


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, name: str, lines: Sequence[str] = (), kind: str = "") -> str:
    """A rectangle with its name and lines below it; a line in back quotes is set as code."""
    parts = [rectangle(x, y, width, height, kind), text(x + 10, y + 20, name, "name")]
    for number, line in enumerate(lines, 1):
        code = line.startswith("`")
        parts.append(text(x + 10, y + 20 + number * _LINE, line.strip("`"), "code" if code else "small"))
    return "".join(parts)


def arrow(points: Sequence[Point], kind: str = "") -> str:
    """A line through the points with a head at the last one; its last part is upright or level."""
    (before_x, before_y), (x, y) = points[-2:]
    if before_x == x:
        back = y - _HEAD if y > before_y else y + _HEAD
        head = f"{x},{y} {x - 4},{back} {x + 4},{back}"
    else:
        back = x - _HEAD if x > before_x else x + _HEAD
        head = f"{x},{y} {back},{y - 4} {back},{y + 4}"
    line = " ".join(f"{px},{py}" for px, py in points)
    return f'<polyline class="arrow {kind}" points="{line}"/><polygon class="head" points="{head}"/>'


def curve(points: Sequence[Point], kind: str) -> str:
    """A line through the points."""
    return f'<polyline class="{kind}" points="{" ".join(f"{x},{y}" for x, y in points)}"/>'
