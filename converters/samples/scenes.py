"""Painted land-use scenes: one picture per class of UC Merced, each with its own colours and pattern.

Every scene is drawn in a unit frame, x and y in [-0.5, 0.5] over the image, turned, scaled and shifted at random, then
gets noise, a brightness and a colour cast. Classes stay apart at 112 pixels; images of one class differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from converters.samples.noise import NoisePool, Rng
from converters.samples.shapes import COURT, PLANE, Points, draw_shape, ellipse, place, rectangle

Colour = tuple[int, int, int]

# Drawn past the border, so that a turned scene has no bare corners.
REACH = 1.1


@dataclass(frozen=True)
class Sketch:
    """A drawing surface of `side` pixels whose unit frame is turned by `angle` radians, scaled and shifted."""

    draw: ImageDraw.ImageDraw
    rng: Rng
    side: int
    angle: float
    scale: float
    shift: tuple[float, float]

    def fill(self, points: Points, colour: Colour) -> None:
        """Paint a polygon given in the unit frame."""
        span = self.side * self.scale
        box = (self.side * (0.5 + self.shift[0]), self.side * (0.5 + self.shift[1]), span, span, self.angle)
        self.draw.polygon(place(points, box).ravel().tolist(), fill=colour)

    def box(self, cx: float, cy: float, width: float, height: float, colour: Colour) -> None:
        """Paint a rectangle by its centre and sides."""
        self.fill(rectangle(cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2), colour)

    def disc(self, cx: float, cy: float, radius: float, colour: Colour) -> None:
        """Paint a circle."""
        self.fill(ellipse(cx, cy, radius, radius), colour)

    def road(self, y: float, width: float, colour: Colour, marks: Colour | None = None) -> None:
        """Paint a band along x, with a dashed middle line when `marks` has a colour."""
        self.box(0, y, 2 * REACH, width, colour)
        if marks is not None:
            for x in np.arange(-REACH, REACH, 0.12):
                self.box(float(x), y, 0.06, width * 0.1, marks)

    def turned(self, angle: float) -> Sketch:
        """The same surface with the frame turned further."""
        return replace(self, angle=self.angle + angle)

    def grid(self, step_x: float, step_y: float, jitter: float = 0.0) -> list[tuple[float, float]]:
        """Points of a grid over the whole frame, each moved by up to `jitter`."""
        xs, ys = np.meshgrid(np.arange(-REACH, REACH, step_x), np.arange(-REACH, REACH, step_y))
        points = np.stack([xs.ravel(), ys.ravel()], axis=1)
        return [tuple(point) for point in (points + self.rng.uniform(-jitter, jitter, points.shape)).tolist()]

    def spots(self, count: int) -> list[tuple[float, float]]:
        """Random points inside the frame."""
        return [tuple(point) for point in self.rng.uniform(-0.6, 0.6, (count, 2)).tolist()]


def paint_scene(scene: str, rng: Rng, pool: NoisePool, width: int = 256, height: int = 256) -> Image.Image:
    """An RGB image of the land-use class `scene` (a key of `SCENES`).

    The pool's planes must be at least ``height x width``.
    """
    ground, clouds, sketch_it = SCENES[scene]
    side = max(width, height)
    image = Image.new("RGB", (side, side), ground)
    shift = (float(rng.uniform(-0.08, 0.08)), float(rng.uniform(-0.08, 0.08)))
    angle, scale = float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0.85, 1.2))
    sketch_it(Sketch(ImageDraw.Draw(image), rng, side, angle, scale, shift))
    pixels = np.asarray(image.crop((0, 0, width, height)), dtype=np.float32)
    smooth, grain = pool.crop(rng, height, width)
    texture = clouds * smooth + rng.uniform(3, 8) * grain
    cast = rng.uniform(0.92, 1.08, 3).astype(np.float32) * np.float32(rng.uniform(0.85, 1.15))
    return Image.fromarray(np.clip((pixels + texture[..., None]) * cast, 0, 255).astype(np.uint8))


def save_image(image: Image.Image, path: Path) -> None:
    """Write an image in the format of its suffix, making its folder; JPEG at quality 88."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() in {".jpg", ".jpeg"}:
        image.save(path, quality=88)
    else:
        image.save(path)


def _agricultural(s: Sketch) -> None:
    step = s.rng.uniform(0.06, 0.1)
    for y in np.arange(-REACH, REACH, step):
        s.box(0, float(y), 2 * REACH, step * 0.5, (190, 180, 80))


def _airplane(s: Sketch) -> None:
    for x, y in s.spots(int(s.rng.integers(1, 4))):
        size = s.side * s.rng.uniform(0.3, 0.5)
        box = (s.side * (0.5 + x * 0.6), s.side * (0.5 + y * 0.6), size, size * PLANE.aspect, s.angle)
        draw_shape(s.draw, PLANE, box, lambda tone: (int(245 * tone),) * 3)


def _baseball_diamond(s: Sketch) -> None:
    s.disc(0, 0, 0.36, (185, 125, 75))
    s.fill(np.array([[-0.3, 0], [0, -0.3], [0.3, 0], [0, 0.3]]), (80, 150, 60))
    s.disc(0, 0, 0.05, (185, 125, 75))


def _beach(s: Sketch) -> None:
    s.box(0, -0.62, 2 * REACH, 1.2, (40, 110, 170))
    s.box(0, 0.0, 2 * REACH, 0.1, (235, 240, 240))


def _buildings(s: Sketch) -> None:
    for x, y in s.grid(0.36, 0.32, 0.03):
        width, height = s.rng.uniform(0.18, 0.28, 2)
        s.box(x + 0.03, y + 0.03, width, height, (45, 45, 50))
        s.box(x, y, width, height, (205, 200, 195))
        s.box(x, y, width * 0.4, height * 0.4, (150, 150, 155))


def _chaparral(s: Sketch) -> None:
    for x, y in s.grid(0.08, 0.08, 0.03):
        s.disc(x, y, s.rng.uniform(0.012, 0.03), (85, 90, 50))


def _dense_residential(s: Sketch) -> None:
    _houses(s, 0.15, 0.15, 0.11, ((165, 85, 70), (150, 75, 65), (180, 105, 85)))


def _forest(s: Sketch) -> None:
    for x, y in s.grid(0.07, 0.07, 0.04):
        shade = float(s.rng.uniform(0.6, 1.3))
        s.disc(x, y, s.rng.uniform(0.03, 0.06), (int(28 * shade), int(75 * shade), int(30 * shade)))


def _freeway(s: Sketch) -> None:
    for y in (-0.13, 0.13):
        s.road(y, 0.2, (125, 125, 125), (240, 240, 240))
    _cars(s, [(float(x), float(y)) for x in s.rng.uniform(-0.6, 0.6, 3) for y in (-0.13, 0.13)], 0.07)


def _golf_course(s: Sketch) -> None:
    for x, y in s.spots(4):
        s.disc(x, y, s.rng.uniform(0.12, 0.25), (110, 190, 80))
    for x, y in s.spots(6):
        s.fill(ellipse(x, y, 0.07, 0.045), (235, 220, 170))


def _harbor(s: Sketch) -> None:
    for y in np.arange(-REACH, REACH, 0.3):
        s.box(0, float(y), 2 * REACH, 0.035, (150, 140, 125))
        for x in np.arange(-REACH, REACH, 0.075):
            if s.rng.random() < 0.85:
                s.box(float(x), float(y) + 0.085, 0.045, 0.12, (235, 235, 240))


def _intersection(s: Sketch) -> None:
    s.road(0, 0.22, (110, 110, 112), (235, 235, 235))
    s.turned(np.pi / 2).road(0, 0.22, (110, 110, 112), (235, 235, 235))
    s.box(0, 0, 0.22, 0.22, (110, 110, 112))


def _medium_residential(s: Sketch) -> None:
    s.road(0, 0.1, (125, 125, 125))
    _houses(s, 0.3, 0.26, 0.14, ((150, 120, 105), (125, 105, 95), (175, 150, 135)))


def _mobile_home_park(s: Sketch) -> None:
    for x, y in s.grid(0.11, 0.3, 0.005):
        s.box(x, y, 0.05, 0.22, (238, 238, 232))


def _overpass(s: Sketch) -> None:
    s.road(0, 0.34, (95, 95, 100), (230, 230, 120))
    across = s.turned(np.pi / 2 + s.rng.uniform(-0.2, 0.2))
    across.road(0.03, 0.3, (40, 40, 42))
    across.road(0, 0.26, (215, 210, 200))


def _parking_lot(s: Sketch) -> None:
    rows = [(x, y) for x, y in s.grid(0.07, 0.16) if s.rng.random() < 0.8]
    for x, y in rows:
        red, green, blue = s.rng.integers(60, 256, 3).tolist()
        s.box(x, y, 0.045, 0.1, (red, green, blue))


def _river(s: Sketch) -> None:
    x = np.linspace(-REACH, REACH, 40)
    middle = s.rng.uniform(0.08, 0.16) * np.sin(x * s.rng.uniform(5, 8) + s.rng.uniform(0, 6))
    half = s.rng.uniform(0.1, 0.15)
    bank = np.concatenate([np.stack([x, middle - half], 1), np.stack([x, middle + half], 1)[::-1]])
    s.fill(bank, (60, 80, 95))


def _runway(s: Sketch) -> None:
    s.road(0, 0.3, (75, 75, 80))
    for y in np.arange(-0.11, 0.12, 0.044):
        s.box(-0.2, float(y), 0.22, 0.022, (245, 245, 245))
    s.box(0.45, 0, 0.5, 0.02, (245, 245, 245))


def _sparse_residential(s: Sketch) -> None:
    for x, y in s.spots(12):
        s.disc(x, y, s.rng.uniform(0.03, 0.07), (60, 85, 45))
    for x, y in s.spots(2):
        s.box(x * 0.5, y * 0.5, 0.2, 0.14, (225, 215, 205))


def _storage_tanks(s: Sketch) -> None:
    radius = s.rng.uniform(0.08, 0.13)
    for x, y in s.grid(2.6 * radius, 2.6 * radius, 0.01):
        s.disc(x + 0.02, y + 0.02, radius, (60, 60, 60))
        s.disc(x, y, radius, (245, 245, 240))


def _tennis_court(s: Sketch) -> None:
    for y in (-0.24, 0.24):
        size = s.side * s.scale
        offset = place(np.array([[0.0, y]]), (s.side / 2, s.side / 2, size, size, s.angle))[0]
        box = (float(offset[0]), float(offset[1]), size * 0.7, size * 0.38, s.angle)
        draw_shape(s.draw, COURT, box, lambda tone: (250, 250, 250) if tone == 1 else (50, 95, 160))


def _houses(s: Sketch, step_x: float, step_y: float, size: float, roofs: tuple[Colour, ...]) -> None:
    for x, y in s.grid(step_x, step_y, 0.012):
        roof = roofs[s.rng.integers(len(roofs))]
        s.box(x, y, size, size * 0.8, roof)
        s.box(x, y - size * 0.2, size, size * 0.4, (min(roof[0] + 40, 255), roof[1] + 35, roof[2] + 30))


def _cars(s: Sketch, places: list[tuple[float, float]], length: float) -> None:
    for x, y in places:
        red, green, blue = s.rng.integers(60, 256, 3).tolist()
        s.box(x, y + s.rng.choice((-0.05, 0.05)), length, length * 0.45, (red, green, blue))


# Class of UC Merced -> ground colour, strength of the cloudy noise in grey levels, painter.
SCENES: dict[str, tuple[Colour, float, Callable[[Sketch], None]]] = {
    "agricultural": ((95, 130, 50), 6, _agricultural),
    "airplane": ((120, 120, 122), 5, _airplane),
    "baseballdiamond": ((80, 150, 60), 8, _baseball_diamond),
    "beach": ((225, 205, 160), 6, _beach),
    "buildings": ((100, 100, 102), 6, _buildings),
    "chaparral": ((200, 180, 130), 10, _chaparral),
    "denseresidential": ((110, 105, 100), 5, _dense_residential),
    "forest": ((22, 58, 25), 8, _forest),
    "freeway": ((150, 140, 90), 8, _freeway),
    "golfcourse": ((70, 130, 55), 14, _golf_course),
    "harbor": ((20, 45, 80), 5, _harbor),
    "intersection": ((165, 110, 85), 8, _intersection),
    "mediumresidential": ((75, 115, 60), 8, _medium_residential),
    "mobilehomepark": ((140, 130, 115), 6, _mobile_home_park),
    "overpass": ((90, 110, 70), 8, _overpass),
    "parkinglot": ((65, 65, 68), 4, _parking_lot),
    "river": ((60, 100, 50), 14, _river),
    "runway": ((130, 120, 65), 8, _runway),
    "sparseresidential": ((165, 150, 105), 12, _sparse_residential),
    "storagetanks": ((150, 125, 100), 6, _storage_tanks),
    "tenniscourt": ((90, 145, 95), 5, _tennis_court),
}
