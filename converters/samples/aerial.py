"""Painted aerial images: ground, noise, and oriented objects in the look of their category."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from converters.formats.folders import normal_form
from converters.samples.noise import NoisePool, Rng
from converters.samples.shapes import AERIAL, Fill, draw_shape
from mmrs.errors import UserError
from mmrs.geometry import hbb_from_quad, quad_from_rotated

GROUNDS = ((96, 110, 84), (128, 120, 108), (104, 104, 106))
# Words of the sources' labels -> look in `AERIAL`; the first word that a label contains decides.
_WORDS = {
    "baseball": "baseball-diamond",
    "basketball": "basketball-court",
    "tennis": "tennis-court",
    "groundtrack": "ground-track-field",
    "football": "soccer-ball-field",
    "playground": "ground-track-field",
    "stadium": "ground-track-field",
    "golf": "soccer-ball-field",
    "tank": "storage-tank",
    "chimney": "storage-tank",
    "windmill": "helipad",
    "roundabout": "roundabout",
    "intersection": "roundabout",
    "crossroad": "roundabout",
    "junction": "roundabout",
    "harbor": "harbor",
    "dam": "bridge",
    "bridge": "bridge",
    "overpass": "bridge",
    "station": "large-vehicle",
    "airport": "airport",
    "parking": "airport",
    "service": "airport",
    "ship": "ship",
    "boat": "ship",
    "truck": "large-vehicle",
    "bus": "large-vehicle",
    "trailer": "large-vehicle",
    "plane": "plane",
    "aircraft": "plane",
    "boeing": "plane",
}


@dataclass(frozen=True)
class PlacedObject:
    """One object; `rotated` is (cx, cy, width, height, angle in radians, clockwise) in pixels."""

    label: str
    rotated: tuple[float, float, float, float, float]

    @property
    def corners(self) -> list[tuple[float, float]]:
        """Four corners, clockwise on screen."""
        return [(x, y) for x, y in quad_from_rotated([self.rotated])[0].tolist()]

    @property
    def edges(self) -> list[int]:
        """xmin, ymin, xmax, ymax in whole pixels."""
        return np.round(hbb_from_quad(quad_from_rotated([self.rotated]))[0]).astype(int).tolist()


def appearance(label: str) -> str:
    """Key of `AERIAL` for a source's label; ``small-vehicle`` for whatever has no look of its own."""
    if label in AERIAL:
        return label
    name = normal_form(label)
    return next((key for word, key in _WORDS.items() if word in name), "small-vehicle")


def scatter(
    rng: Rng, labels: Sequence[str], size: tuple[int, int], count: int, upright: bool = False
) -> list[PlacedObject]:
    """`count` objects inside an image of `size` = (width, height); labels come up in turn from a random one.

    An `upright` object lies along x, so that its horizontal box is tight.
    """
    placed = []
    first = int(rng.integers(len(labels)))
    for index in range(count):
        label = labels[(first + index) % len(labels)]
        shape, _, typical = AERIAL[appearance(label)]
        length = min(typical * float(rng.uniform(0.8, 1.3)), min(size) * 0.6)
        reach = length * 0.75
        cx, cy = (float(rng.uniform(reach, side - reach)) for side in size)
        angle = 0.0 if upright else float(rng.uniform(0, 2 * np.pi))
        placed.append(PlacedObject(label, (cx, cy, length, length * shape.aspect, angle)))
    return placed


def paint(rng: Rng, pool: NoisePool, size: tuple[int, int], objects: Sequence[PlacedObject]) -> Image.Image:
    """An RGB image of `size` = (width, height) that shows the objects; the pool's planes must be at least as large."""
    width, height = size
    smooth, grain = pool.crop(rng, height, width)
    ground = np.array(GROUNDS[rng.integers(len(GROUNDS))], dtype=np.float32)
    texture = (12 * smooth + 3 * grain)[..., None]
    image = Image.fromarray(np.clip(ground + texture, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    # Small objects last, or a large one would cover them.
    for placed in sorted(objects, key=lambda one: -one.rotated[2]):
        shape, colour, _ = AERIAL[appearance(placed.label)]
        draw_shape(draw, shape, placed.rotated, _shades(colour, rng.uniform(0.85, 1.05)))
    return image


def check_range(objects_per_image: tuple[int, int]) -> tuple[int, int]:
    """The least and greatest number of objects itself. Raises `UserError` unless it is a range from 1."""
    if not 1 <= objects_per_image[0] <= objects_per_image[1]:
        raise UserError(f"objects_per_image {objects_per_image} must be a least and a greatest number, 1 or more")
    return objects_per_image


def _shades(colour: tuple[int, int, int], gain: float) -> Callable[[float], Fill]:
    def shade(tone: float) -> Fill:
        red, green, blue = (min(int(value * (0.25 + 0.75 * tone * gain)), 255) for value in colour)
        return red, green, blue

    return shade
