"""Painted SAR images: speckle on dark water, brighter land on some, and bright slanted ships."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from converters.samples.noise import NoisePool, Rng
from converters.samples.shapes import AERIAL, draw_shape, place

_SHIP = AERIAL["ship"][0]
SHIP_TONE = 200


@dataclass(frozen=True)
class Ship:
    """One ship: (cx, cy, width, height, angle in radians, clockwise) in pixels; the width is the long side."""

    rotated: tuple[float, float, float, float, float]

    @property
    def outline(self) -> npt.NDArray[np.float64]:
        """Points ``(5, 2)`` of its outline in pixels."""
        return place(_SHIP.parts[0][0], self.rotated)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """xmin, ymin, xmax, ymax of the outline."""
        (x1, y1), (x2, y2) = self.outline.min(axis=0).tolist(), self.outline.max(axis=0).tolist()
        return x1, y1, x2, y2


def scatter_ships(rng: Rng, size: tuple[int, int], count: int, lengths: tuple[float, float] = (18, 60)) -> list[Ship]:
    """`count` ships inside an image of `size` = (width, height) pixels."""
    ships = []
    for _ in range(count):
        length = float(rng.uniform(*lengths))
        reach = length / 2 + 3
        cx, cy = (float(rng.uniform(reach, side - reach)) for side in size)
        ships.append(Ship((cx, cy, length, length * float(rng.uniform(0.25, 0.4)), float(rng.uniform(0.05, np.pi)))))
    return ships


def paint_amplitude(
    rng: Rng, pool: NoisePool, size: tuple[int, int], ships: Sequence[Ship], shore: bool = False
) -> npt.NDArray[np.float32]:
    """Amplitude ``(H, W)``: water about 25, land about 90, ships about 200, all multiplied with speckle."""
    width, height = size
    smooth, _ = pool.crop(rng, height, width)
    canvas = Image.fromarray(np.clip(25 + 6 * smooth, 4, 60).astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    if shore:
        draw.polygon([(0, 0), (width, 0), (width, height * 0.08), (0, height * 0.2)], fill=90)
    for ship in ships:
        draw_shape(draw, _SHIP, ship.rotated, lambda tone: int(SHIP_TONE * (0.6 + 0.4 * tone)))
    # Speckle of four looks; a pool's plane flipped and cut would repeat visibly.
    speckle = np.sqrt(rng.gamma(4, 0.25, (height, width))).astype(np.float32)
    return np.asarray(canvas, dtype=np.float32) * speckle


def paint_grey(
    rng: Rng, pool: NoisePool, size: tuple[int, int], ships: Sequence[Ship], shore: bool = False
) -> Image.Image:
    """The same as 8-bit grey."""
    return Image.fromarray(np.clip(paint_amplitude(rng, pool, size, ships, shore), 0, 255).astype(np.uint8))
