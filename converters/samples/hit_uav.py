"""A fake HIT-UAV: thermal scenes in the four true layouts, which agree with each other as the real ones do.

Horizontal boxes are the rotated ones' extents rounded down; ``truncated`` is in the XML files only, ``difficult`` in
all but normal_json; the images of rotate_xml are three-channel copies.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from converters.samples.counts import split_counts
from converters.samples.hit_uav_files import (
    IMAGE_SIZE,
    WRITTEN_LAYOUTS,
    FakeImage,
    FakeObject,
    Flight,
    WrittenLayout,
    write_layouts,
)
from converters.samples.noise import NoisePool, Rng, make_pool
from converters.samples.shapes import THERMAL, draw_shape
from mmrs.errors import UserError

_IMAGES = {"train": 12, "val": 4, "test": 6}
_CLASSES = ("Person", "Car", "Bicycle", "OtherVehicle")
PUBLISHED_SHARES = (0.4974, 0.2954, 0.2012, 0.006)
# Median long side in pixels of the real objects.
LONG_SIDES = {"Person": 19, "Car": 56, "Bicycle": 31, "OtherVehicle": 67, "DontCare": 47}
SETTING_STEP = 10
FRAMES_PER_FLIGHT = 8
# The diagonal of the squarest object must fit into the image height.
LONGEST_SIDE = 380
BORDER = 0.001
JPEG_QUALITY = 88


def write(
    root: Path,
    *,
    images_per_split: int | Mapping[str, int] | None = None,
    seed: int = 0,
    objects_per_image: tuple[int, int] = (0, 12),
    object_sides: tuple[float, float] | None = None,
    dont_care: bool = True,
    equal_classes: bool = False,
    layouts: Sequence[WrittenLayout] = WRITTEN_LAYOUTS,
) -> dict[str, Any]:
    """Write the fake into `root`.

    Args:
        root: becomes the source's root.
        images_per_split: one number for all splits, or a number by split.
        seed: equal seeds and options give equal bytes.
        objects_per_image: least and greatest number of objects; with a least of 0 some images have none.
        object_sides: least and greatest long side in pixels; None for the real sizes of each class.
        dont_care: add some DontCare regions.
        equal_classes: draw the four classes alike often instead of in the real shares.
        layouts: the layouts to write.

    Returns:
        Images and objects per split, and objects by label.
    """
    _check(objects_per_image, object_sides)
    counts = split_counts(images_per_split, _IMAGES)
    rng = np.random.default_rng(seed)
    width, height = IMAGE_SIZE
    pool = make_pool(rng, height + 160, width + 160)
    images: list[FakeImage] = []
    flight = _flight(rng)
    for split, count in counts.items():
        for number in range(count):
            if len(images) % FRAMES_PER_FLIGHT == 0:
                flight = _flight(rng)
            objects = _objects(rng, number, objects_per_image, object_sides, dont_care, equal_classes)
            images.append(FakeImage(split, len(images) * 3 + 100, flight, objects, _paint(rng, pool, flight, objects)))
    write_layouts(root, images, tuple(counts), layouts)
    labels = [obj.label for image in images for obj in image.objects]
    return {
        "images": dict(counts),
        "objects": {split: sum(len(x.objects) for x in images if x.split == split) for split in counts},
        "labels": {label: labels.count(label) for label in THERMAL if label in labels},
    }


def _check(per_image: tuple[int, int], sides: tuple[float, float] | None) -> None:
    if not 0 <= per_image[0] <= per_image[1]:
        raise UserError(f"objects_per_image {per_image} must be a least and a greatest number, 0 or more")
    if sides is not None and not 4 <= sides[0] <= sides[1] <= LONGEST_SIDE:
        raise UserError(f"object_sides {sides} must be a least and a greatest long side of 4 to {LONGEST_SIDE} pixels")


def _flight(rng: Rng) -> Flight:
    return Flight(
        date=f"202101{rng.integers(10, 29)}",
        night=bool(rng.random() < 0.68),
        altitude_m=int(rng.integers(6, 14)) * SETTING_STEP,
        camera_angle_deg=int(rng.integers(3, 10)) * SETTING_STEP,
        brightness=float(rng.uniform(70, 120)),
        contrast=float(rng.uniform(6, 16)),
    )


def _objects(
    rng: Rng,
    number: int,
    per_image: tuple[int, int],
    sides: tuple[float, float] | None,
    dont_care: bool,
    equal_classes: bool,
) -> tuple[FakeObject, ...]:
    least, most = per_image
    count = int(rng.integers(least, most + 1))
    if number == 0:
        # The first image of a split shows every mark an object can have.
        count = max(count, min(most, 4))
    elif least == 0 and number % 7 == 1:
        count = 0
    labels = rng.choice(_CLASSES, size=count, p=None if equal_classes else _normalised(PUBLISHED_SHARES)).tolist()
    if dont_care and count > 3 and (number == 0 or rng.random() < 0.1):
        labels[-1] = "DontCare"
    objects: list[FakeObject] = []
    for index, label in enumerate(labels):
        at_border = (number == 0 and index == 0 and count > 1) or (sides is None and rng.random() < 0.06)
        difficult = (number == 0 and index == 1) or (sides is None and rng.random() < 0.01)
        objects.append(_place(rng, label, sides, at_border, difficult, objects))
    return tuple(objects)


def _normalised(shares: Sequence[float]) -> list[float]:
    return [share / sum(shares) for share in shares]


def _place(
    rng: Rng,
    label: str,
    sides: tuple[float, float] | None,
    at_border: bool,
    difficult: bool,
    others: Sequence[FakeObject],
) -> FakeObject:
    """An object that stays inside the image and, where there is room, clear of the others."""
    long_side = LONG_SIDES[label] * rng.lognormal(0, 0.25) if sides is None else rng.uniform(*sides)
    short_side = long_side * THERMAL[label].aspect * rng.uniform(0.9, 1.1)
    # Like the real set: half the boxes are axis-parallel and most have their width as the short side.
    angle = 0.0 if rng.random() < 0.54 else round(rng.uniform(0, np.pi), 6)
    w, h = (short_side, long_side) if rng.random() < 0.7 else (long_side, short_side)
    w, h = round(float(w), 4), round(float(h), 4)
    half_x = (abs(w * np.cos(angle)) + abs(h * np.sin(angle))) / 2 + BORDER
    half_y = (abs(w * np.sin(angle)) + abs(h * np.cos(angle))) / 2 + BORDER
    for _ in range(20):
        cx = half_x if at_border else rng.uniform(half_x, IMAGE_SIZE[0] - half_x)
        cy = rng.uniform(half_y, IMAGE_SIZE[1] - half_y)
        reach = max(w, h)
        if all(np.hypot(cx - o.rotated[0], cy - o.rotated[1]) > (reach + max(o.rotated[2:4])) / 2 for o in others):
            break
    rotated = (round(float(cx), 4), round(float(cy), 4), w, h, angle)
    return FakeObject(label, rotated, difficult=difficult, truncated=at_border)


def _paint(rng: Rng, pool: NoisePool, flight: Flight, objects: Sequence[FakeObject]) -> bytes:
    width, height = IMAGE_SIZE
    smooth, grain = pool.crop(rng, height, width)
    ground = flight.brightness + rng.uniform(-8, 8)
    canvas = Image.fromarray(np.clip(ground + flight.contrast * smooth, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    for obj in objects:
        bright, dark = rng.uniform(195, 250), rng.uniform(20, 50)
        draw_shape(draw, THERMAL[obj.label], obj.rotated, _grey(dark, bright))
    noisy = np.asarray(canvas, dtype=np.float32) + rng.uniform(2, 6) * grain
    buffer = io.BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _grey(dark: float, bright: float) -> Callable[[float], int]:
    return lambda tone: int(dark + tone * (bright - dark))
