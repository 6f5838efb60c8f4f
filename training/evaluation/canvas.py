"""Where a task draws truth and answer, in pixels of the stored image: on a shrunken picture, or as SVG on a page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import numpy.typing as npt
from PIL import ImageDraw

from mmrs.geometry import Array, as_quads

TRUE_COLOUR, PREDICTED_COLOUR, WRONG_COLOUR = "#2ca02c", "#ff7f0e", "#d62728"


class Canvas(Protocol):
    """Outlines of the record and of the answer."""

    def outline_truth(self, quads: npt.ArrayLike) -> None:
        """Quads ``(N, 4, 2)`` of the record."""
        ...

    def outline_answer(self, quads: npt.ArrayLike) -> None:
        """Quads ``(N, 4, 2)`` of the answer."""
        ...


@dataclass(frozen=True, slots=True)
class ImageCanvas:
    """A picture; `scale` pixels of the drawing are one of the image."""

    drawing: ImageDraw.ImageDraw
    scale: float

    def outline_truth(self, quads: npt.ArrayLike) -> None:
        self._outline(as_quads(quads), TRUE_COLOUR)

    def outline_answer(self, quads: npt.ArrayLike) -> None:
        self._outline(as_quads(quads), PREDICTED_COLOUR)

    def _outline(self, quads: Iterable[Array], colour: str) -> None:
        for quad in quads:
            points = [(float(x) * self.scale, float(y) * self.scale) for x, y in quad]
            self.drawing.polygon(points, outline=colour, width=2)


@dataclass(frozen=True, slots=True)
class SvgCanvas:
    """Polygons of the classes ``truth`` and ``answer``, in the order in which they were drawn, up to `most` of each."""

    most: int = 300
    shapes: dict[str, list[str]] = field(default_factory=lambda: {"truth": [], "answer": []})

    def outline_truth(self, quads: npt.ArrayLike) -> None:
        self._outline(as_quads(quads), "truth")

    def outline_answer(self, quads: npt.ArrayLike) -> None:
        self._outline(as_quads(quads), "answer")

    def markup(self) -> str:
        """The polygons, the answer's above the truth's."""
        return "".join(self.shapes["truth"] + self.shapes["answer"])

    def _outline(self, quads: Array, kind: str) -> None:
        for quad in quads[: self.most - len(self.shapes[kind])]:
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in quad)
            self.shapes[kind].append(f'<polygon class="{kind}" points="{points}"/>')
