"""From the numbers of other models to pixels of the image: one function per frame of numbers.

A frame is a fact about a model, told by its adapter or its layout and never guessed from the numbers: 0.3 may be a
fraction, and 30 a pixel, a hundredth or a thousandth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mmrs.geometry import Array, SquareFrame, quad_from_hbb, quad_from_rotated


@dataclass(frozen=True, slots=True)
class ImageSizes:
    """An image as it is stored, and as the model saw it after resizing, in pixels; equal where nobody resized."""

    width: int
    height: int
    seen_width: int
    seen_height: int


class CoordinateFrame(Protocol):
    """What a box's numbers mean."""

    def to_pixels(self, numbers: Sequence[float], sizes: ImageSizes) -> Array | None:
        """Numbers of one box -> its quad ``(4, 2)`` in pixels of the stored image; None where they are none."""
        ...

    def to_numbers(self, box: Array, sizes: ImageSizes) -> list[float]:
        """A horizontal box ``(4,)`` in pixels of the stored image -> its numbers, not rounded."""
        ...


@dataclass(frozen=True, slots=True)
class PerAxis:
    """xmin, ymin, xmax, ymax in parts of the image's width and height.

    Args:
        unit: 1000 for thousandths, 1 for fractions.
        angled: a fifth number is an angle in degrees: the box, once scaled to pixels, is turned about its centre,
            counter-clockwise on screen (GeoChat's demo turns it so).
        turn_before_scaling: it is turned in the grid and then scaled, as EarthDial's scorer does. On a square image
            that is the same.
    """

    unit: float
    angled: bool = False
    turn_before_scaling: bool = False

    def to_pixels(self, numbers: Sequence[float], sizes: ImageSizes) -> Array | None:
        if len(numbers) != 4 and not (self.angled and len(numbers) == 5):
            return None
        scale = np.array([sizes.width, sizes.height]) / self.unit
        angle = math.radians(numbers[4]) if len(numbers) == 5 else 0.0
        box = np.array(numbers[:4], dtype=np.float64).reshape(2, 2)
        if self.turn_before_scaling:
            return _turned(box, angle) * scale
        return _turned(box * scale, angle)

    def to_numbers(self, box: Array, sizes: ImageSizes) -> list[float]:
        scale = self.unit / np.array([sizes.width, sizes.height] * 2)
        return [float(value) for value in np.asarray(box, dtype=np.float64).reshape(4) * scale]


@dataclass(frozen=True, slots=True)
class SeenPixels:
    """xmin, ymin, xmax, ymax in pixels of the image as the model saw it."""

    def to_pixels(self, numbers: Sequence[float], sizes: ImageSizes) -> Array | None:
        if len(numbers) != 4:
            return None
        scale = np.array([sizes.width / sizes.seen_width, sizes.height / sizes.seen_height])
        return _turned(np.array(numbers, dtype=np.float64).reshape(2, 2) * scale, 0.0)

    def to_numbers(self, box: Array, sizes: ImageSizes) -> list[float]:
        scale = np.array([sizes.seen_width / sizes.width, sizes.seen_height / sizes.height] * 2)
        return [float(value) for value in np.asarray(box, dtype=np.float64).reshape(4) * scale]


@dataclass(frozen=True, slots=True)
class PaddedFractions:
    """xmin, ymin, xmax, ymax as fractions of the padded square."""

    def to_pixels(self, numbers: Sequence[float], sizes: ImageSizes) -> Array | None:
        if len(numbers) != 4:
            return None
        frame = SquareFrame(sizes.width, sizes.height)
        return _turned(frame.to_pixels(np.array(numbers, dtype=np.float64).reshape(2, 2)), 0.0)

    def to_numbers(self, box: Array, sizes: ImageSizes) -> list[float]:
        frame = SquareFrame(sizes.width, sizes.height)
        points = frame.to_fractions(np.asarray(box, dtype=np.float64).reshape(2, 2))
        return [float(value) for value in points.reshape(4)]


def _turned(corners: Array, angle: float) -> Array:
    """The box between two opposite corners, turned about its centre by `angle`, counter-clockwise on screen.

    Corners may be reversed: the set of the four is the same.
    """
    low, high = corners.min(axis=0), corners.max(axis=0)
    if not angle:
        return quad_from_hbb([[*low, *high]])[0]
    return quad_from_rotated([[*(low + high) / 2, *(high - low), -angle]])[0]
