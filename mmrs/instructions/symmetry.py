"""The eight symmetries of the padded square: what a turn or a mirror image does to the places in it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Symmetry:
    """Swap x and y, then mirror x, then mirror y."""

    swap: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    @property
    def moves(self) -> bool:
        """Whether anything changes its place."""
        return self.swap or self.mirror_x or self.mirror_y

    def moved(self, x: int, y: int, unit: int) -> tuple[int, int]:
        """Where a point of a square of side `unit` comes to lie. Whole numbers stay whole, so nothing is rounded."""
        if self.swap:
            x, y = y, x
        return unit - x if self.mirror_x else x, unit - y if self.mirror_y else y


IDENTITY = Symmetry()
