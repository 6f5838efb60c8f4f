"""The boxes that an answer names, in pixels of the image that was asked about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mmrs.geometry import SquareFrame, as_quads, hbb_from_quad, quad_from_hbb
from mmrs.instructions.answers import parse_detections
from mmrs.instructions.dialects import Dialect


@dataclass(frozen=True)
class NamedBox:
    """`quad` has four corners, clockwise; `is_oriented` says whether the answer named them all or two of them."""

    name: str
    quad: tuple[tuple[float, float], ...]
    is_oriented: bool

    def as_json(self) -> dict[str, Any]:
        """Plain data: the name, the corners, and the box around them as left, top, right, bottom."""
        (hull,) = hbb_from_quad(as_quads([self.quad])).tolist()
        return {
            "name": self.name,
            "box": [round(value, 2) for value in hull],
            "quad": [[round(value, 2) for value in corner] for corner in self.quad],
            "oriented": self.is_oriented,
        }


def found_boxes(text: str, width: int, height: int, dialect: Dialect, asked: str = "") -> list[NamedBox]:
    """Every box of an answer that can be read, clipped to the image; empty ones are left out.

    Args:
        width, height: of the image in pixels.
        asked: the name of boxes before which the answer has none, as where one class was asked for.
    """
    found = []
    for group in parse_detections(text, SquareFrame(width, height), (), dialect):
        name = _singular(group.name, group.count) or asked
        is_oriented = group.boxes.quads is not None
        quads_N42 = quad_from_hbb(group.boxes.hbb) if group.boxes.quads is None else group.boxes.quads
        for quad in np.clip(quads_N42, 0, (width, height)):
            if (quad.max(0) > quad.min(0)).all():
                found.append(NamedBox(name, tuple((float(x), float(y)) for x, y in quad), is_oriented))
    return found


def _singular(name: str, count: int | None) -> str:
    # The released plural is one s at the end, whatever the word.
    return name.removesuffix("s") if count != 1 and count is not None else name
