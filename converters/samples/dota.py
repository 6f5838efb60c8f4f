"""A fake DOTA: painted scenes larger than a tile, with objects across tile borders and the releases' label quirks.

Scene 0 of a split is RGB with LF labels; 1 is grey (one band) with CRLF; 2 is small RGBA with a byte order mark; 3 has
an empty label file. Then it starts again. ``gsd`` is a number, ``None`` or empty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from converters.catalog import facts
from converters.samples import aerial
from converters.samples.aerial import paint
from converters.samples.counts import split_counts
from converters.samples.dota_layouts import DotaLayout, rearrange
from converters.samples.noise import NoisePool, Rng, make_pool
from converters.samples.shapes import AERIAL
from mmrs.errors import UserError
from mmrs.geometry import quad_from_rotated

_IMAGES = {"train": 4, "val": 2}
KINDS = ("RGB", "L", "RGBA", "empty")
_LARGE, _SMALL = (1400, 1100), (700, 560)
# A window of the usual tiling ends at 1024: an object there is cut.
TILE_BORDER = 1024

_Release = Literal["1.0", "1.5", "2.0"]


def write(
    root: Path,
    *,
    images_per_split: int | Mapping[str, int] | None = None,
    seed: int = 0,
    release: _Release = "1.0",
    objects_per_image: tuple[int, int] = (8, 24),
    layout: DotaLayout = "official",
) -> dict[str, Any]:
    """Write the fake into `root`.

    Args:
        root: becomes the source's root.
        images_per_split: one number for both splits, or a number by split.
        seed: equal seeds and options give equal bytes.
        release: whose classes, label folder name and headers are written.
        objects_per_image: least and greatest number of objects of a scene that is not empty.
        layout: official, or as torchgeo, mmrotate (tiles) or ultralytics have it, or the first split without a folder.

    Returns:
        Images and objects per split, and objects by label, as they are in the official layout.
    """
    counts = split_counts(images_per_split, _IMAGES)
    if not 0 <= objects_per_image[0] <= objects_per_image[1]:
        raise UserError(f"objects_per_image {objects_per_image} must be a least and a greatest number, 0 or more")
    rng = np.random.default_rng(seed)
    pool = make_pool(rng, _LARGE[1] + 100, _LARGE[0] + 100, planes=2)
    labels = facts("dota").variants[release].labels
    label_folder = "labelTxt" if release == "1.0" else f"labelTxt-v{release}"
    found: list[tuple[str, str]] = []
    number = 0
    for split, count in counts.items():
        folders = {name: root / split / name for name in ("images", label_folder, "meta")}
        for name, folder in folders.items():
            if name != "meta" or release == "2.0":
                folder.mkdir(parents=True)
        for index in range(count):
            kind = KINDS[index % len(KINDS)]
            size = _SMALL if kind in ("RGBA", "empty") else _LARGE
            objects = [] if kind == "empty" else _objects(rng, labels, size, objects_per_image, number)
            stem = f"P{number:04d}"
            _paint(rng, pool, kind, size, objects).save(folders["images"] / f"{stem}.png", compress_level=1)
            _write_labels(folders, label_folder, stem, kind, release, objects, number)
            found += [(split, label) for label, _, _ in objects]
            number += 1
    rearrange(root, layout, label_folder, tuple(counts), release)
    return {
        "images": dict(counts),
        "objects": {split: sum(own == split for own, _ in found) for split in counts},
        "labels": dict(Counter(label for _, label in found)),
    }


# Label, rotated box (cx, cy, width, height, angle), difficult.
_Placed = tuple[str, tuple[float, float, float, float, float], int]


def _objects(
    rng: Rng, labels: Sequence[str], size: tuple[int, int], per_image: tuple[int, int], number: int
) -> list[_Placed]:
    """Every label comes up in turn; the first object of a large scene lies across a tile's border."""
    placed: list[_Placed] = []
    for index in range(int(rng.integers(per_image[0], per_image[1] + 1))):
        label = labels[(index + number * 5) % len(labels)]
        shape, _, typical = AERIAL[label]
        length = typical * rng.uniform(0.8, 1.3)
        reach = min(length / 2 + 2, min(size) / 2 - 1)
        cx, cy = rng.uniform(reach, size[0] - reach), rng.uniform(reach, size[1] - reach)
        if index == 0 and size[0] > TILE_BORDER:
            cx = TILE_BORDER + rng.uniform(-0.2, 0.2) * length
        angle = rng.uniform(0, 2 * np.pi)
        difficult = int(rng.choice([0, 0, 0, 0, 1])) if index else 0
        placed.append((label, (cx, cy, length, length * shape.aspect, angle), difficult))
    return placed


def _paint(rng: Rng, pool: NoisePool, kind: str, size: tuple[int, int], objects: Sequence[_Placed]) -> Image.Image:
    image = paint(rng, pool, size, [aerial.PlacedObject(label, box) for label, box, _ in objects])
    if kind == "L":
        return image.convert("L")
    if kind == "RGBA":
        image.putalpha(255)
    return image


def _write_labels(
    folders: Mapping[str, Path],
    label_folder: str,
    stem: str,
    kind: str,
    release: _Release,
    objects: Sequence[_Placed],
    number: int,
) -> None:
    source = "GF" if kind == "L" else "GoogleEarth"
    gsd = ("0.115726939386", "None", "")[number % 3]
    lines = [] if release == "2.0" or kind == "empty" else [f"imagesource:{source}", f"gsd:{gsd}"]
    for label, box, difficult in objects:
        corners = " ".join(f"{value:.1f}" for value in quad_from_rotated([box]).ravel())
        lines.append(f"{corners} {label} {difficult}")
    ending = "\r\n" if kind == "L" else "\n"
    text = ("\ufeff" if kind == "RGBA" else "") + "".join(line + ending for line in lines)
    (folders[label_folder] / f"{stem}.txt").write_bytes(text.encode())
    if release == "2.0":
        meta = f"acquisition dates:None\nimagesource:{source}\ngsd:{gsd or 'null'}\n"
        (folders["meta"] / f"{stem}.txt").write_text(meta, encoding="utf-8")
