"""The order in which an answer names the boxes of one class, however the image is turned.

Boxes are a set, and a data set writes them in any order, so which one comes next cannot be seen in the image; a turn
shuffles them anew. Sorted, the image says it: from left to right the next box is the nearest to the right of the last
one, by rows it is the next visual token that shows one. Pix2seq (arXiv 2109.10852) compares orders; there random ones
are best, with a thousand times our images.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from mmrs.geometry import SquareFrame

if TYPE_CHECKING:
    from mmrs.instructions.dialects import Dialect, ParsedBoxes

# The text inside a pair of brackets in order.
BoxOrder = Callable[[str], str]
DETECTION_TASKS = frozenset({"detection-hbb", "detection-obb"})
_GROUP = re.compile(r"\[([^\[\]]*)\]")
# Places in shares of a square's side: a dialect's frame of any size gives the same cells.
_FRAME = SquareFrame(1000, 1000)


def ordered_turns(task: str, turns: list[tuple[str, str]], order: BoxOrder) -> list[tuple[str, str]]:
    """(role, text) pairs of one dialogue with the boxes of each pair of brackets of its answers in order; other tasks
    as they are."""
    if task not in DETECTION_TASKS:
        return turns
    return [(role, text if role == "human" else _ordered(text, order)) for role, text in turns]


def left_to_right(boxes: str) -> str:
    """Boxes sorted by their numbers, first numbers first. Where anything is no number they stay as they are."""
    pieces = boxes.split(";")
    try:
        numbers = [tuple(float(number) for number in piece.split(",")) for piece in pieces]
    except ValueError:
        return boxes
    return ";".join(pieces[place] for place in sorted(range(len(pieces)), key=numbers.__getitem__))


def by_rows(written: Dialect, cells: int) -> BoxOrder:
    """Boxes sorted by the cell that their middle lies in, row by row, and within a cell by their middles.

    Those that are too small to have an area as they are written, and whatever is no box, come last.

    Args:
        written: how boxes are written.
        cells: of a side of the grid of visual tokens.
    """

    def order(boxes: str) -> str:
        pieces = boxes.split(";")
        if len(pieces) == 1:
            return boxes
        return ";".join(sorted(pieces, key=lambda piece: _place(written.parse(piece, _FRAME), cells)))

    return order


def _place(parsed: ParsedBoxes, cells: int) -> tuple[float, ...]:
    if len(parsed.hbb) != 1:
        return (cells,)
    corners_N2 = parsed.hbb.reshape(2, 2) if parsed.quads is None else parsed.quads[0]
    x, y = (corners_N2.mean(axis=0) / _FRAME.width).tolist()
    column, row = (min(max(int(share * cells), 0), cells - 1) for share in (x, y))
    return row, column, x, y


def _ordered(text: str, order: BoxOrder) -> str:
    return _GROUP.sub(lambda match: f"[{order(match[1])}]", text)
