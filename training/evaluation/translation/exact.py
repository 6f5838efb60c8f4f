"""The dialect of translated answers: fractions of the padded square in full, not clamped to it.

It is never generated and stands in no data set: an answer that was rewritten for scoring must lose nothing on the way,
and an oriented box of another model may reach over the border.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mmrs.geometry import SquareFrame, SquareFrames
from mmrs.instructions.dialects import Dialect, ParsedBoxes
from mmrs.instructions.dialects.fractions import FractionDialect
from mmrs.instructions.dialects.grid import read_boxes
from mmrs.instructions.symmetry import Symmetry

_NUMBER = re.compile(r"\s*([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*")


@dataclass(frozen=True, slots=True)
class ExactFractions:
    """A `Dialect` of fractions with all their digits."""

    name: str = "exact"

    def state(self) -> Sequence[Any]:
        return [self.name]

    def max_error_pixels(self, frame: SquareFrame) -> float:
        return 1e-6 * frame.side

    def format_hbb(self, boxes: npt.ArrayLike, frame: SquareFrame | SquareFrames) -> str:
        points = np.asarray(boxes, dtype=np.float64).reshape(-1, 2, 2)
        return _written(frame.to_fractions(points).reshape(-1, 4))

    def format_obb(self, quads: npt.ArrayLike, frame: SquareFrame | SquareFrames) -> str:
        points = np.asarray(quads, dtype=np.float64).reshape(-1, 4, 2)
        return _written(frame.to_fractions(points).reshape(-1, 8))

    def parse(self, text: str, frame: SquareFrame) -> ParsedBoxes:
        return read_boxes(text, frame, _fraction)

    def pattern(self, numbers: int) -> str:
        number = r"-?\d+\.\d+"
        return rf"{number}(?:,{number}){{{numbers - 1}}}"

    def transform(self, text: str, symmetry: Symmetry) -> str | None:
        return None


EXACT = ExactFractions()


def written_dialect(own: Dialect) -> Dialect:
    """The dialect in which translated answers are kept in files, which readers of `own` read.

    Fractions are read with any number of decimals, so they get six; other dialects are taken as they are, with their
    rounding.
    """
    return replace(own, decimals=6, widen_degenerate=False) if isinstance(own, FractionDialect) else own


def _written(rows: npt.NDArray[np.float64]) -> str:
    return "[" + ";".join(",".join(repr(float(value)) for value in row) for row in rows) + "]"


def _fraction(text: str) -> float | None:
    match = _NUMBER.fullmatch(text)
    return float(match[1]) if match else None
