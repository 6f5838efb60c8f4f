"""Where a task draws truth and answer: a shrunken image, in the pixels of the stored one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy.typing as npt
from PIL import ImageDraw

from mmrs.geometry import as_quads

TRUE_COLOUR, PREDICTED_COLOUR, WRONG_COLOUR = "#2ca02c", "#ff7f0e", "#d62728"


@dataclass(frozen=True, slots=True)
class Canvas:
    """`scale` pixels of the drawing are one of the image."""

    drawing: ImageDraw.ImageDraw
    scale: float

    def outline_truth(self, quads: npt.ArrayLike) -> None:
        """Quads ``(N, 4, 2)`` of the record."""
        self._outline(as_quads(quads), TRUE_COLOUR)

    def outline_answer(self, quads: npt.ArrayLike) -> None:
        """Quads ``(N, 4, 2)`` of the answer."""
        self._outline(as_quads(quads), PREDICTED_COLOUR)

    def _outline(self, quads: Iterable, colour: str) -> None:
        for quad in quads:
            points = [(float(x) * self.scale, float(y) * self.scale) for x, y in quad]
            self.drawing.polygon(points, outline=colour, width=2)
