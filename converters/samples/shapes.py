"""Oriented objects made of flat parts: each class has its own outline and its own inner marks.

A shape lives in the unit square [-0.5, 0.5]^2 with its long axis along x and fills it, so the drawn object touches all
four sides of its rotated box.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import ImageDraw

Points = npt.NDArray[np.float64]
Fill = int | tuple[int, int, int]


@dataclass(frozen=True)
class Shape:
    """`parts`: (points ``(K, 2)``, tone) in painting order; tone 0 is the darkest mark, 1 the brightest.

    `aspect` is short side / long side.
    """

    parts: tuple[tuple[Points, float], ...]
    aspect: float


def rectangle(x1: float, y1: float, x2: float, y2: float) -> Points:
    """Corners ``(4, 2)`` of an axis-parallel rectangle."""
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], dtype=np.float64)


def ellipse(cx: float, cy: float, rx: float, ry: float, corners: int = 20) -> Points:
    """Points ``(corners, 2)`` on an ellipse."""
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([cx + rx * np.cos(turn), cy + ry * np.sin(turn)], axis=1)


def polygon(*points: tuple[float, float]) -> Points:
    """Points ``(K, 2)`` as given."""
    return np.array(points, dtype=np.float64)


def place(points: Points, box: Sequence[float]) -> Points:
    """Unit points ``(K, 2)`` -> pixels, for a rotated box (cx, cy, width, height, angle in radians, clockwise)."""
    cx, cy, width, height, angle = box
    if height > width:
        points = np.stack([-points[:, 1], points[:, 0]], axis=1)
    scaled = points * (width, height)
    cos, sin = np.cos(angle), np.sin(angle)
    return scaled @ np.array([[cos, sin], [-sin, cos]]) + (cx, cy)


def draw_shape(draw: ImageDraw.ImageDraw, shape: Shape, box: Sequence[float], fill: Callable[[float], Fill]) -> None:
    """Paint a shape into a rotated box; `fill` turns a tone (0..1) into the colour of the image's mode."""
    for points, tone in shape.parts:
        draw.polygon(place(points, box).ravel().tolist(), fill=fill(tone))


FULL = rectangle(-0.5, -0.5, 0.5, 0.5)
OVAL = ellipse(0, 0, 0.5, 0.5)


def _stripes(count: int, tones: tuple[float, float]) -> tuple[tuple[Points, float], ...]:
    edges = np.linspace(-0.5, 0.5, count + 1)
    return tuple(
        (rectangle(left, -0.5, right, 0.5), tones[number % 2])
        for number, (left, right) in enumerate(itertools.pairwise(edges))
    )


def _bars(lefts: Sequence[float], width: float, tone: float) -> tuple[tuple[Points, float], ...]:
    return tuple((rectangle(left, -0.5, left + width, 0.5), tone) for left in lefts)


def _wheel(cx: float) -> tuple[tuple[Points, float], ...]:
    return (ellipse(cx, 0, 0.2, 0.5), 0.95), (ellipse(cx, 0, 0.11, 0.28), 0.1)


PERSON = Shape(
    (
        (rectangle(-0.5, -0.13, 0.5, 0.13), 0.95),
        (rectangle(-0.13, -0.5, 0.13, 0.5), 0.95),
        (ellipse(0, 0, 0.27, 0.3), 1.0),
    ),
    0.8,
)
CAR = Shape(
    (
        (FULL, 0.7),
        (rectangle(0.08, -0.4, 0.26, 0.4), 0.05),
        (rectangle(-0.4, -0.36, -0.3, 0.36), 0.15),
    ),
    0.5,
)
BICYCLE = Shape((*_wheel(-0.3), *_wheel(0.3), (rectangle(-0.32, -0.1, 0.32, 0.1), 1.0)), 0.42)
TRUCK = Shape((*_stripes(7, (0.9, 0.15)), (rectangle(0.36, -0.5, 0.5, 0.5), 1.0)), 0.3)
CLUTTER = Shape(((OVAL, 0.55), (ellipse(0.1, 0.05, 0.25, 0.3), 0.4)), 0.75)

PLANE = Shape(
    (
        (rectangle(-0.5, -0.06, 0.5, 0.06), 1.0),
        (polygon((0.15, 0), (-0.1, -0.5), (-0.2, -0.5), (-0.08, 0), (-0.2, 0.5), (-0.1, 0.5)), 1.0),
        (polygon((-0.36, 0), (-0.48, -0.2), (-0.5, -0.2), (-0.5, 0.2), (-0.48, 0.2)), 0.8),
    ),
    0.9,
)
DIAMOND = Shape(((polygon((-0.5, 0), (0.5, -0.5), (0.5, 0.5)), 1.0), (ellipse(0.1, 0, 0.14, 0.14), 0.3)), 0.95)
BRIDGE = Shape(((FULL, 0.8), (rectangle(-0.5, -0.08, 0.5, 0.08), 0.3)), 0.25)
TRACK = Shape(((OVAL, 0.9), (ellipse(0, 0, 0.36, 0.3), 0.1), (ellipse(0, 0, 0.2, 0.12), 0.5)), 0.55)
SHIP = Shape(
    (
        (polygon((0.5, 0), (0.25, -0.5), (-0.5, -0.4), (-0.5, 0.4), (0.25, 0.5)), 0.9),
        (ellipse(-0.1, 0, 0.15, 0.2), 0.2),
    ),
    0.35,
)
COURT = Shape(
    ((FULL, 0.4), (rectangle(-0.45, -0.4, 0.45, 0.4), 1.0), (rectangle(-0.4, -0.34, 0.4, 0.34), 0.4),
     (rectangle(-0.02, -0.5, 0.02, 0.5), 1.0)),
    0.5,
)  # fmt: skip
BASKET = Shape(((FULL, 0.7), (ellipse(-0.32, 0, 0.16, 0.3), 0.2), (ellipse(0.32, 0, 0.16, 0.3), 0.2)), 0.6)
TANK = Shape(((OVAL, 1.0), (ellipse(0.08, 0.08, 0.36, 0.36), 0.75)), 1.0)
PITCH = Shape(((FULL, 0.8), *_bars((-0.4, 0.3), 0.1, 0.55), (ellipse(0, 0, 0.12, 0.18), 1.0)), 0.65)
ISLAND = Shape(((OVAL, 0.3), (ellipse(0, 0, 0.3, 0.3), 1.0)), 1.0)
PIER = Shape(((rectangle(-0.5, -0.1, 0.5, 0.1), 0.8), *_bars((-0.5, -0.2, 0.1, 0.44), 0.06, 0.8)), 0.45)
POOL = Shape(((OVAL, 1.0), (ellipse(0.1, -0.05, 0.2, 0.25), 0.8)), 0.6)
HELICOPTER = Shape(
    (
        (ellipse(0.15, 0, 0.35, 0.25), 0.9),
        (rectangle(-0.5, -0.06, 0, 0.06), 0.9),
        (rectangle(0.12, -0.5, 0.2, 0.5), 0.3),
    ),
    0.6,
)
CRANE = Shape(((rectangle(-0.5, -0.1, 0.5, 0.1), 1.0), (rectangle(-0.1, -0.5, 0.1, 0.5), 0.6)), 0.5)
RUNWAYS = Shape(((FULL, 0.5), (rectangle(-0.48, -0.3, 0.48, -0.1), 0.2), (rectangle(-0.48, 0.1, 0.48, 0.3), 0.2)), 0.4)
HELIPAD = Shape(((FULL, 0.5), (ellipse(0, 0, 0.42, 0.42), 1.0), (rectangle(-0.2, -0.06, 0.2, 0.06), 0.3)), 1.0)

THERMAL: dict[str, Shape] = {
    "Person": PERSON,
    "Car": CAR,
    "Bicycle": BICYCLE,
    "OtherVehicle": TRUCK,
    "DontCare": CLUTTER,
}

# Shape, colour at tone 1, typical long side in pixels.
AERIAL: dict[str, tuple[Shape, tuple[int, int, int], int]] = {
    "plane": (PLANE, (240, 240, 245), 90),
    "baseball-diamond": (DIAMOND, (190, 140, 90), 130),
    "bridge": (BRIDGE, (170, 170, 165), 200),
    "ground-track-field": (TRACK, (190, 90, 70), 260),
    "small-vehicle": (CAR, (200, 60, 60), 26),
    "large-vehicle": (TRUCK, (220, 210, 120), 60),
    "ship": (SHIP, (200, 205, 215), 70),
    "tennis-court": (COURT, (120, 190, 140), 90),
    "basketball-court": (BASKET, (210, 140, 80), 80),
    "storage-tank": (TANK, (235, 235, 230), 50),
    "soccer-ball-field": (PITCH, (110, 200, 80), 220),
    "roundabout": (ISLAND, (100, 170, 90), 110),
    "harbor": (PIER, (190, 180, 160), 150),
    "swimming-pool": (POOL, (70, 190, 230), 40),
    "helicopter": (HELICOPTER, (150, 170, 110), 60),
    "container-crane": (CRANE, (230, 120, 40), 80),
    "airport": (RUNWAYS, (150, 150, 150), 420),
    "helipad": (HELIPAD, (200, 200, 120), 50),
}
