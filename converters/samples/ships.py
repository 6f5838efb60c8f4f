"""Painted crops of ships for the ship classification fakes."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from converters.samples.noise import NoisePool, Rng
from converters.samples.shapes import SHIP, draw_shape

LARGEST = 220
SMALLEST = 90


def crop_size(number: int) -> tuple[int, int]:
    """Width and height in pixels of crop `number`: crops of the real sets differ in size."""
    span = LARGEST - SMALLEST
    return SMALLEST + number * 53 % span, SMALLEST + number * 31 % span


def paint_ship(label: str, rng: Rng, pool: NoisePool, width: int, height: int) -> Image.Image:
    """An RGB image of one ship on water; length, colour and slimness follow from the class word."""
    code = sum(label.encode())
    image = Image.new("RGB", (width, height), (25 + code % 20, 55 + code % 25, 80))
    length = min(width, height) * (0.6 + 0.35 * (code % 7) / 6)
    aspect = SHIP.aspect * (0.6 + 0.5 * (code % 5) / 4)
    box = (width / 2, height / 2, length, length * aspect, float(rng.uniform(0, 2 * np.pi)))
    hull = 150 + code % 90
    draw_shape(ImageDraw.Draw(image), SHIP, box, lambda tone: (int(hull * tone),) * 3)
    smooth, grain = pool.crop(rng, height, width)
    pixels = np.asarray(image, dtype=np.float32) + (6 * smooth + 4 * grain)[..., None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
