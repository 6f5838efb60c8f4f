"""Boxes as decimal fractions of the padded square's side, ``[0.12,0.50,0.16,0.59]``: the form of MMRS-1M.

Whatever their number of decimals, such texts are read and turned alike; how many are written is what dialects of this
form differ in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import numpy.typing as npt

from mmrs.geometry import SquareFrame, SquareFrames
from mmrs.instructions.dialects.dialect import HORIZONTAL, ORIENTED, ParsedBoxes
from mmrs.instructions.dialects.grid import Steps, horizontal_steps, oriented_steps, read_boxes, turned_steps
from mmrs.instructions.symmetry import Symmetry

_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*")
_WRITTEN = re.compile(r"[01]\.\d+")


@dataclass(frozen=True, slots=True)
class FractionDialect:
    """A `Dialect` of decimal fractions.

    Args:
        name: key in recipes.
        decimals: digits after the point; one step is ``10**-decimals`` of the square's side.
        widen_degenerate: a horizontal box whose edges round to the same number gets one step of width, so that every
            written box has an area. The released archive does not (11 of its 30,820 RSVG pairs collapsed).
    """

    name: str
    decimals: int
    widen_degenerate: bool

    def state(self) -> list[str | int | bool]:
        """Name and options."""
        return [self.name, self.decimals, self.widen_degenerate]

    def max_error_pixels(self, frame: SquareFrame) -> float:
        """Half a step, 1.5 where widened."""
        step = frame.side * 10.0**-self.decimals
        return step * 1.5 if self.widen_degenerate else step / 2

    def format_hbb(self, boxes: npt.ArrayLike, frame: SquareFrame | SquareFrames) -> str:
        return self._write(horizontal_steps(boxes, frame, 10**self.decimals, self.widen_degenerate))

    def format_obb(self, quads: npt.ArrayLike, frame: SquareFrame | SquareFrames) -> str:
        return self._write(oriented_steps(quads, frame, 10**self.decimals))

    def parse(self, text: str, frame: SquareFrame) -> ParsedBoxes:
        return read_boxes(text, frame, _fraction)

    def pattern(self, numbers: int) -> str:
        number = rf"(?:0\.\d{{{self.decimals}}}|1\.0{{{self.decimals}}})"
        return rf"{number}(?:,{number}){{{numbers - 1}}}"

    def transform(self, text: str, symmetry: Symmetry) -> str | None:
        """A coordinate keeps its number of decimals: in steps of the last one, x becomes ``10**decimals - x``."""
        rows = [_transformed(piece, symmetry) for piece in text.split(";")]
        written = [row for row in rows if row is not None]
        return ";".join(written) if len(written) == len(rows) else None

    def _write(self, steps: Steps) -> str:
        texts = _written_steps(self.decimals)
        rows = [",".join([texts[step] for step in row]) for row in steps.tolist()]
        return "[" + ";".join(rows) + "]"


@cache
def _written_steps(decimals: int) -> tuple[str, ...]:
    """The text of every step: looked up, as a build writes some hundred of them for each image."""
    return tuple(_decimal(step, decimals) for step in range(10**decimals + 1))


def _decimal(step: int, decimals: int) -> str:
    unit = 10**decimals
    return f"{step // unit}.{step % unit:0{decimals}d}"


def _fraction(text: str) -> float | None:
    match = _NUMBER.fullmatch(text)
    return float(match[1]) if match else None


def _transformed(piece: str, symmetry: Symmetry) -> str | None:
    separator = ", " if ", " in piece else ","
    numbers = piece.split(separator)
    if len(numbers) not in (HORIZONTAL, ORIENTED) or not all(_WRITTEN.fullmatch(number) for number in numbers):
        return None
    decimals = len(numbers[0]) - 2
    steps = [int(number.replace(".", "")) for number in numbers]
    if any(len(number) - 2 != decimals for number in numbers) or max(steps) > 10**decimals:
        return None
    return separator.join(_decimal(step, decimals) for step in turned_steps(steps, 10**decimals, symmetry))
