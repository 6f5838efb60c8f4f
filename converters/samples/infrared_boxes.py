"""Fakes of the undocumented infrared sets: grey images, boxes as VOC XML or YOLO text, and the class map of the user.

The folders are our choice, since the true ones are not known: ``images``, ``Annotations`` or ``labels``.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageDraw

from converters.catalog import facts
from converters.samples.noise import NoisePool, Rng, make_pool
from converters.samples.shapes import AERIAL, BICYCLE, CAR, PERSON, TRUCK, Shape, draw_shape
from converters.samples.voc_xml import bndbox, document, flags, head

BoxForm = Literal["voc", "yolo"]
_SIZES = ((384, 288), (640, 512))
_LOOKS: Mapping[str, Shape] = {
    "person": PERSON,
    "car": CAR,
    "bus": TRUCK,
    "truck": TRUCK,
    "cyclist": PERSON,
    "vehicle": CAR,
}
_Placed = tuple[str, tuple[int, int, int, int]]


def write_set(
    root: Path,
    name: str,
    images: int,
    seed: int,
    annotations: BoxForm,
    parts: Sequence[str] = ("",),
) -> dict[str, Any]:
    """Write a fake of source `name`.

    Args:
        root: becomes the source's root.
        name: of the source, whose classes are used.
        images: number of moments.
        seed: equal seeds and options give equal bytes.
        annotations: kind of the label files.
        parts: folders below the root, each with a version of every moment and its own labels.

    Returns:
        Images and objects.
    """
    rng = np.random.default_rng(seed)
    pool = make_pool(rng, 560, 700, planes=2)
    labels = tuple(facts(name).classes)
    objects = 0
    for number in range(images):
        size = _SIZES[number % len(_SIZES)]
        placed = _place(rng, labels, size, number)
        objects += len(placed) * len(parts)
        for part in parts:
            folder = root / part if part else root
            _save(folder / "images" / f"{number + 1:05d}.jpg", _paint(rng, pool, size, placed))
            if annotations == "voc":
                _save(folder / "Annotations" / f"{number + 1:05d}.xml", _xml(number, size, placed).encode())
            else:
                _save(folder / "labels" / f"{number + 1:05d}.txt", _yolo(labels, size, placed).encode())
    keys: Sequence[str | int] = labels if annotations == "voc" else range(len(labels))
    lines = [f"{key}: {category}\n" for key, category in zip(keys, facts(name).classes.values(), strict=True)]
    (root / "classes.yaml").write_text("".join(lines), encoding="utf-8")
    return {"images": images * len(parts), "objects": objects}


def _save(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _place(rng: Rng, labels: Sequence[str], size: tuple[int, int], number: int) -> list[_Placed]:
    """Every label comes up in turn; every seventh image has no object."""
    placed = []
    for index in range(0 if number % 7 == 6 else 1 + number % 4):
        width, height = int(rng.integers(16, 70)), int(rng.integers(12, 50))
        x, y = int(rng.integers(0, size[0] - width)), int(rng.integers(0, size[1] - height))
        placed.append((labels[(number + index) % len(labels)], (x, y, x + width, y + height)))
    return placed


def _paint(rng: Rng, pool: NoisePool, size: tuple[int, int], placed: Sequence[_Placed]) -> bytes:
    smooth, grain = pool.crop(rng, size[1], size[0])
    canvas = Image.fromarray(np.clip(90 + 12 * smooth, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    for label, (x1, y1, x2, y2) in placed:
        shape = _LOOKS.get(label, BICYCLE if label == "bike" else AERIAL["ship"][0])
        box = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, 0.0)
        draw_shape(draw, shape, box, lambda tone: int(60 + 180 * tone))
    noisy = np.clip(np.asarray(canvas, dtype=np.float32) + 4 * grain, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noisy).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def _xml(number: int, size: tuple[int, int], placed: Sequence[_Placed]) -> str:
    # Some annotation tools leave the size out.
    nodes = head(f"{number + 1:05d}.jpg", "Unknown", None if number % 5 == 4 else size, depth=1)
    for label, edges in placed:
        nodes.append(("object", [("name", label), *flags(truncated=0, difficult=0), bndbox(edges)]))
    return document(nodes)


def _yolo(labels: Sequence[str], size: tuple[int, int], placed: Sequence[_Placed]) -> str:
    lines = []
    for label, (x1, y1, x2, y2) in placed:
        numbers = ((x1 + x2) / 2 / size[0], (y1 + y2) / 2 / size[1], (x2 - x1) / size[0], (y2 - y1) / size[1])
        lines.append(f"{labels.index(label)} " + " ".join(f"{value:.6f}" for value in numbers) + "\n")
    return "".join(lines)
