"""Squares of decoded images that stay in memory, so that later epochs do not decode them again.

An epoch shows every image once, in another order each time. Whoever dropped the one that was used longest ago would
drop each just before it comes again; so what was kept first stays, and what finds no room is decoded every time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Squares = npt.NDArray[np.uint8]


@dataclass
class KeptSquares:
    """At most `most_bytes` of squares (N, 3, S, S) of samples, before they are turned; each process has its own."""

    most_bytes: int
    _squares: dict[int, Squares] = field(default_factory=dict)
    _bytes: int = 0

    def fill(self, row: int, room_NCHW: Squares) -> bool:
        """Copy the squares of a sample into `room_NCHW`; false where they are not kept."""
        kept = self._squares.get(row)
        if kept is None:
            return False
        room_NCHW[...] = kept
        return True

    def keep(self, row: int, squares_NCHW: Squares) -> None:
        """Keep a copy, if there is room."""
        if row not in self._squares and self._bytes + squares_NCHW.nbytes <= self.most_bytes:
            self._squares[row] = squares_NCHW.copy()
            self._bytes += squares_NCHW.nbytes
