"""The boxes that an answer names, in pixels of the image that was asked about."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmrs.geometry import SquareFrame, as_quads, hbb_from_quad, quad_from_hbb
from mmrs.instructions.answers import parse_detections
from mmrs.instructions.dialects import Dialect


@dataclass(frozen=True)
class NamedBox:
    """`quad` has four corners, clockwise; `is_oriented` says whether the answer named them all or two of them.

    `confidence` is the geometric mean of the probabilities of its tokens; None where they are not known.
    """

    name: str
    quad: tuple[tuple[float, float], ...]
    is_oriented: bool
    confidence: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain data: the name, the corners, and the box around them as left, top, right, bottom."""
        (hull,) = hbb_from_quad(as_quads([self.quad])).tolist()
        stated = {
            "name": self.name,
            "box": [round(value, 2) for value in hull],
            "quad": [[round(value, 2) for value in corner] for corner in self.quad],
            "oriented": self.is_oriented,
        }
        return stated if self.confidence is None else stated | {"confidence": round(self.confidence, 4)}


def found_boxes(
    text: str,
    width: int,
    height: int,
    dialect: Dialect,
    asked: str = "",
    log_probabilities: Sequence[float] | None = None,
) -> list[NamedBox]:
    """Every box of an answer that can be read, clipped to the image; empty ones are left out.

    Args:
        width, height: of the image in pixels.
        asked: the name of boxes before which the answer has none, as where one class was asked for.
        log_probabilities: mean of each piece that is meant as a box (`mmrs.instructions.answers.box_spans`), or none.
    """
    found = []
    first = 0
    for group in parse_detections(text, SquareFrame(width, height), (), dialect):
        name = _singular(group.name, group.count) or asked
        is_oriented = group.boxes.quads is not None
        quads_N42 = quad_from_hbb(group.boxes.hbb) if group.boxes.quads is None else group.boxes.quads
        sure_N: list[float | None] = [None] * len(quads_N42)
        if log_probabilities is not None:
            own = log_probabilities[first : first + len(group.boxes.sound)]
            sure_N = [math.exp(value) for value, is_box in zip(own, group.boxes.sound, strict=True) if is_box]
        first += len(group.boxes.sound)
        for quad, sure in zip(np.clip(quads_N42, 0, (width, height)), sure_N, strict=True):
            if (quad.max(0) > quad.min(0)).all():
                found.append(NamedBox(name, tuple((float(x), float(y)) for x, y in quad), is_oriented, sure))
    return found


def _singular(name: str, count: int | None) -> str:
    # The released plural is one s at the end, whatever the word.
    return name.removesuffix("s") if count != 1 and count is not None else name
