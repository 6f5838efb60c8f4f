"""What dialects share that write boxes as whole steps of a grid over the padded square: rounding, reading, turning."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from mmrs.geometry import Array, SquareFrame, SquareFrames, canonical_quad, clip_hbb, hbb_from_quad
from mmrs.instructions.dialects.dialect import HORIZONTAL, ORIENTED, ParsedBoxes
from mmrs.instructions.symmetry import Symmetry

Steps = npt.NDArray[np.int64]
_Point = tuple[int, int]


def horizontal_steps(
    boxes: npt.ArrayLike, frame: SquareFrame | SquareFrames, unit: int, widen_degenerate: bool
) -> Steps:
    """``(N, 4)`` pixel boxes, clipped to the image -> steps of ``1 / unit`` of the square's side, rounded.

    Args:
        widen_degenerate: an edge that rounds to the other one is moved by one step, so that every box has an area.
    """
    pixels = clip_hbb(boxes, frame.width, frame.height).reshape(-1, 2, 2)
    steps = _rounded(frame.to_fractions(pixels), unit)
    if widen_degenerate:
        low, high = steps[:, 0], steps[:, 1]
        flat = high <= low
        # At the far border there is no room to the right, so the low edge gives way.
        low[flat & (low >= unit)] -= 1
        high[flat] = low[flat] + 1
    return steps.reshape(-1, HORIZONTAL)


def oriented_steps(quads: npt.ArrayLike, frame: SquareFrame | SquareFrames, unit: int) -> Steps:
    """``(N, 4, 2)`` pixel quads -> ``(N, 8)`` steps, corners in canonical order, clamped to the square."""
    return _rounded(frame.to_fractions(canonical_quad(quads)), unit).reshape(-1, ORIENTED)


def _rounded(fractions: Array, unit: int) -> Steps:
    return np.rint(np.clip(fractions, 0, 1) * unit).astype(np.int64)


def read_boxes(text: str, frame: SquareFrame, read_number: Callable[[str], float | None]) -> ParsedBoxes:
    """Boxes of ``a,b,c,d;a,b,c,d``. The first readable piece decides between 4 and 8 numbers; others are malformed.

    Args:
        read_number: one number's text -> fraction of the square's side, None where it is no number of the dialect.
    """
    rows: list[list[float]] = []
    read: list[bool] = []
    for piece in filter(str.strip, text.split(";")):
        numbers = [read_number(part) for part in piece.split(",")]
        found = [number for number in numbers if number is not None and math.isfinite(number)]
        whole = len(found) == len(numbers) and len(found) in (HORIZONTAL, ORIENTED)
        read.append(whole and (not rows or len(found) == len(rows[0])))
        if read[-1]:
            rows.append(found)
    if not rows:
        return ParsedBoxes(np.empty((0, 4)), None, tuple(read))
    if len(rows[0]) == ORIENTED:
        quads = frame.to_pixels(np.array(rows).reshape(-1, 4, 2))
        boxes = clip_hbb(hbb_from_quad(quads), frame.width, frame.height)
    else:
        quads = None
        points = frame.to_pixels(np.array(rows).reshape(-1, 2, 2)).reshape(-1, 4)
        boxes = clip_hbb(points, frame.width, frame.height)
    kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    with_area = iter(kept.tolist())
    sound = tuple(whole and next(with_area) for whole in read)
    return ParsedBoxes(boxes[kept], None if quads is None else quads[kept], sound)


def turned_steps(steps: Sequence[int], unit: int, symmetry: Symmetry) -> list[int]:
    """The 4 or 8 steps of one box in the turned square, corners again in the order of the dialect. Exact."""
    corners = [symmetry.moved(x, y, unit) for x, y in zip(steps[::2], steps[1::2], strict=True)]
    ordered = _rectangle(corners) if len(corners) == 2 else _clockwise(corners)
    return [step for corner in ordered for step in corner]


def _rectangle(corners: list[_Point]) -> list[_Point]:
    (x1, y1), (x2, y2) = corners
    return [(min(x1, x2), min(y1, y2)), (max(x1, x2), max(y1, y2))]


def _clockwise(corners: list[_Point]) -> list[_Point]:
    """Clockwise on screen from the corner nearest to the top left, ties by the smaller y: as `canonical_quad`."""
    following = corners[1:] + corners[:1]
    doubled_area = sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(corners, following, strict=True))
    ordered = corners if doubled_area >= 0 else corners[::-1]
    first = min(range(4), key=lambda number: (sum(ordered[number]), ordered[number][1]))
    return ordered[first:] + ordered[:first]
