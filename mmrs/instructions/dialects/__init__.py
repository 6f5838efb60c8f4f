"""Box dialects: pixel boxes <-> the text of their coordinates, in the padded-square frame.

Text of one group of boxes: ``[a,b,c,d;a,b,c,d]``, 4 numbers a horizontal box (x1, y1, x2, y2), 8 an oriented one (four
corners clockwise from the corner nearest to the top left). All numbers are fractions of the padded square's side.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmrs.errors import UserError
from mmrs.geometry import Array, SquareFrame, canonical_quad, clip_hbb, hbb_from_quad

_NUMBER = re.compile(r"\s*(\d*\.?\d+)\s*")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How coordinates are written.

    Args:
        name: key in recipes.
        decimals: digits after the point; one step is ``10**-decimals`` of the square's side.
        widen_degenerate: a horizontal box whose edges round to the same number gets one step of width, so that every
            written box has an area. The released archive does not (11 of its 30,820 RSVG pairs collapsed).
    """

    name: str
    decimals: int
    widen_degenerate: bool

    def max_error_pixels(self, frame: SquareFrame) -> float:
        """Largest error of one coordinate after format and parse, in pixels: half a step, 1.5 where widened."""
        step = frame.side * 10.0**-self.decimals
        return step * 1.5 if self.widen_degenerate else step / 2

    def format_hbb(self, boxes: npt.ArrayLike, frame: SquareFrame) -> str:
        """``(N, 4)`` pixel boxes, clipped to the image -> text."""
        pixels = clip_hbb(boxes, frame.width, frame.height).reshape(-1, 2, 2)
        steps = self._steps(frame.to_fractions(pixels))
        if self.widen_degenerate:
            low, high = steps[:, 0], steps[:, 1]
            flat = high <= low
            # At the far border there is no room to the right, so the low edge gives way.
            low[flat & (low >= 10**self.decimals)] -= 1
            high[flat] = low[flat] + 1
        return self._write(steps.reshape(-1, 4))

    def format_obb(self, quads: npt.ArrayLike, frame: SquareFrame) -> str:
        """``(N, 4, 2)`` pixel quads -> text; corners outside the square are clamped to it."""
        return self._write(self._steps(frame.to_fractions(canonical_quad(quads))).reshape(-1, 8))

    def _steps(self, fractions: Array) -> npt.NDArray[np.int64]:
        return np.rint(np.clip(fractions, 0, 1) * 10**self.decimals).astype(np.int64)

    def _write(self, steps: npt.NDArray[np.int64]) -> str:
        unit = 10**self.decimals
        rows = [",".join(f"{n // unit}.{n % unit:0{self.decimals}d}" for n in row) for row in steps.tolist()]
        return "[" + ";".join(rows) + "]"


@dataclass(frozen=True, slots=True)
class ParsedBoxes:
    """Boxes read from text, in pixels of the unpadded image, clipped to it.

    `hbb` ``(N, 4)`` always; `quads` ``(N, 4, 2)`` when the text had 8 numbers a box, else None. `malformed` counts
    pieces that were no box: wrong number of numbers, not a number, no area, or cut off.
    """

    hbb: Array
    quads: Array | None
    malformed: int


def parse_boxes(text: str, frame: SquareFrame) -> ParsedBoxes:
    """Read the inside of one bracket group, in any dialect: fractions of the padded square.

    Never raises on any text. The first readable piece decides between 4 and 8 numbers; others of another length are
    malformed.
    """
    rows: list[list[float]] = []
    malformed = 0
    for piece in text.split(";"):
        numbers = _numbers(piece)
        if numbers is None or len(numbers) not in (4, 8) or (rows and len(numbers) != len(rows[0])):
            malformed += bool(piece.strip())
            continue
        rows.append(numbers)
    if not rows:
        return ParsedBoxes(np.empty((0, 4)), None, malformed)
    if len(rows[0]) == 8:
        quads = frame.to_pixels(np.array(rows).reshape(-1, 4, 2))
        boxes = clip_hbb(hbb_from_quad(quads), frame.width, frame.height)
    else:
        quads = None
        points = frame.to_pixels(np.array(rows).reshape(-1, 2, 2)).reshape(-1, 4)
        boxes = clip_hbb(points, frame.width, frame.height)
    sound = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return ParsedBoxes(boxes[sound], None if quads is None else quads[sound], malformed + int((~sound).sum()))


def _numbers(piece: str) -> list[float] | None:
    parts = [_NUMBER.fullmatch(part) for part in piece.split(",")]
    values = [float(match.group(1)) for match in parts if match]
    if len(values) != len(parts) or not all(math.isfinite(value) for value in values):
        return None
    return values


DIALECTS = {
    "mmrs": Dialect("mmrs", decimals=3, widen_degenerate=True),
    "mmrs1m": Dialect("mmrs1m", decimals=2, widen_degenerate=False),
}


def dialect(name: str) -> Dialect:
    """The dialect of that name. Raises UserError that lists the known ones."""
    if name not in DIALECTS:
        raise UserError(f"dialect {name!r} is not known; set `dialect:` to one of {', '.join(sorted(DIALECTS))}.")
    return DIALECTS[name]
