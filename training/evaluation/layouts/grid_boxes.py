"""Boxes of the benchmarks on a grid of 100 steps an axis, with or without an angle: as truth and as answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmrs.errors import UserError
from mmrs.geometry import hbb_from_quad
from mmrs.instructions.dialects import Dialect
from training.evaluation.boxes.outcome import TrueBoxes
from training.evaluation.layouts.layout import GRID
from training.evaluation.task import BoxesAsked, Question
from training.evaluation.translation.answer import FoundBox, say_boxes
from training.evaluation.translation.frames import ImageSizes, PerAxis
from training.evaluation.translation.syntax import Reader

ANY_OBJECT = "object"


def grid_boxes(text: str, reader: Reader, frame: PerAxis, sizes: ImageSizes, label: str = "") -> list[FoundBox]:
    """The boxes of a text in pixels of an image; `label`: what they all are called, their own labels where empty."""
    return [FoundBox(label or piece.label, frame.to_pixels(piece.numbers, sizes)) for piece in reader(text)]


def say_grid_boxes(
    text: str, boxes: Sequence[FoundBox], question: Question[Any], asked: BoxesAsked, dialect: Dialect
) -> str:
    """The answer in our words."""
    return say_boxes(asked, boxes, text, question.frame, dialect)[0]


def true_objects(text: str, reader: Reader, frame: PerAxis, where: str) -> TrueBoxes:
    """The boxes of a text as objects without classes, in steps of the grid.

    Raises:
        UserError: one of them is no box, or there is none.
    """
    found = [box.quad for box in grid_boxes(text, reader, frame, ImageSizes(GRID, GRID, GRID, GRID))]
    quads = [quad for quad in found if quad is not None]
    if not quads or len(quads) < len(found):
        raise UserError(f"{where}: the true boxes {text!r} cannot be read.")
    stacked = np.stack(quads)
    return TrueBoxes(
        text=f"{len(quads)} boxes",
        quads=stacked,
        extents=hbb_from_quad(stacked),
        categories=(ANY_OBJECT,) * len(quads),
        ignored=np.zeros(len(quads), dtype=bool),
        listed=np.ones(len(quads), dtype=bool),
        nameless=np.zeros(len(quads), dtype=bool),
        labelled=frozenset([ANY_OBJECT]),
    )
