"""The contract of a box dialect: everything about how the numbers of a box are written, in one object.

The answer grammar puts the boxes of one class into brackets, ``[BOX;BOX]``; a dialect says what a BOX is, from pixels
to text and back, for generation (`Dialect.pattern`) and for a turned image (`Dialect.transform`). A box has 4 numbers
when it is horizontal, 8 when it is oriented (four corners clockwise from the corner nearest to the top left).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

from mmrs.geometry import Array, SquareFrame, SquareFrames
from mmrs.instructions.symmetry import Symmetry

HORIZONTAL, ORIENTED = 4, 8


@dataclass(frozen=True, slots=True)
class ParsedBoxes:
    """Boxes read from text, in pixels of the unpadded image, clipped to it.

    `hbb` ``(N, 4)`` always; `quads` ``(N, 4, 2)`` when the text had 8 numbers a box, else None. `sound` says of each
    piece that is not blank whether it was a box; others had a wrong number of numbers, no number, no area, or were cut.
    """

    hbb: Array
    quads: Array | None
    sound: tuple[bool, ...]

    @property
    def malformed(self) -> int:
        """How many pieces were no box."""
        return len(self.sound) - sum(self.sound)


class Dialect(Protocol):
    """One way to write boxes. Implementations are frozen and can be pickled: a build sends them to its workers."""

    @property
    def name(self) -> str:
        """Key in recipes and in the manifest of a data set."""
        ...

    def state(self) -> Sequence[Any]:
        """Plain values, of which one changes whenever the text can; they are part of the state of every shard."""
        ...

    def max_error_pixels(self, frame: SquareFrame) -> float:
        """Largest error of one coordinate after `format_hbb` and `parse`, in pixels."""
        ...

    def format_hbb(self, boxes: npt.ArrayLike, frame: SquareFrame | SquareFrames) -> str:
        """``(N, 4)`` pixel boxes of one image, or each of its own, clipped to the image -> ``[BOX;BOX]``."""
        ...

    def format_obb(self, quads: npt.ArrayLike, frame: SquareFrame | SquareFrames) -> str:
        """``(N, 4, 2)`` pixel quads of one image, or each of its own -> ``[BOX;BOX]``.

        Corners outside the square are clamped to it.
        """
        ...

    def parse(self, text: str, frame: SquareFrame) -> ParsedBoxes:
        """Read the inside of one pair of brackets. Never raises on any text."""
        ...

    def pattern(self, numbers: int) -> str:
        """Regular expression of one box of so many numbers (`HORIZONTAL` or `ORIENTED`), as this dialect writes it."""
        ...

    def transform(self, text: str, symmetry: Symmetry) -> str | None:
        """The inside of one pair of brackets for a turned square, exactly and in as many characters where the dialect
        can; None where the text is no list of boxes."""
        ...
