"""A fake HRSID in both releases: three equal channels, tiles named after scene and window, ships as polygons.

The JPG release restarts ids at 0 in each file and draws some polygons by hand, with fractions. The PNG release has
dense pixel contours, shuffled rows, ids over both files and masks beside the images. Boxes count the last pixel.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageDraw

from converters.samples.counts import split_counts
from converters.samples.noise import Rng, make_pool
from converters.samples.sea import Ship, paint_grey, scatter_ships

_IMAGES = {"train": 4, "test": 3}
_SIDE = 800
STEP = 600
MASKS = ("instance_color_RGB", "instance_id_RGB")


def write(
    root: Path,
    *,
    images_per_split: int | Mapping[str, int] | None = None,
    seed: int = 0,
    flavours: Sequence[Literal["jpg", "png"]] = ("jpg",),
) -> dict[str, Any]:
    """Write the fake into `root`.

    Args:
        root: becomes the source's root.
        images_per_split: one number for both splits, or a number by split.
        seed: equal seeds and options give equal bytes.
        flavours: the releases to write.

    Returns:
        Images and objects per split.
    """
    counts = split_counts(images_per_split, _IMAGES)
    rng = np.random.default_rng(seed)
    pool = make_pool(rng, _SIDE + 60, _SIDE + 60, planes=2)
    shown: dict[str, dict[str, list[Ship]]] = {}
    number = 0
    for split, count in counts.items():
        shown[split] = {}
        for _ in range(count):
            ships = scatter_ships(rng, (_SIDE, _SIDE), 1 + number % 5, (12, 50))
            picture = paint_grey(rng, pool, (_SIDE, _SIDE), ships, shore=number % 3 == 0).convert("RGB")
            stem = _stem(number)
            shown[split][stem] = ships
            for flavour in flavours:
                _save(root, flavour, stem, picture, ships)
            number += 1
    first = 0
    for split, images in shown.items():
        if "jpg" in flavours:
            _write_json(root / "HRSID_JPG" / "annotations" / f"{split}2017.json", _jpg_tables(images))
        if "png" in flavours:
            _write_json(root / "HRSID_png" / "annotations" / f"{split}2017.json", _png_tables(rng, images, first))
            first += sum(map(len, images.values())) + len(images)
    return {
        "images": dict(counts),
        "objects": {split: sum(map(len, images.values())) for split, images in shown.items()},
    }


def _stem(number: int) -> str:
    """Every fifth tile is of the scene that states no window."""
    if number % 5 == 4:
        return f"P0137_{number}"
    start = (number % 4) * STEP
    return f"P{number // 4 + 1:04d}_{start}_{start + _SIDE}_3000_3800"


def _save(root: Path, flavour: str, stem: str, picture: Image.Image, ships: Sequence[Ship]) -> None:
    folder = root / ("HRSID_JPG/JPEGImages" if flavour == "jpg" else "HRSID_png/images")
    folder.mkdir(parents=True, exist_ok=True)
    if flavour == "jpg":
        picture.save(folder / f"{stem}.jpg", quality=92)
        return
    picture.save(folder / f"{stem}.png", compress_level=1)
    mask = Image.new("RGB", picture.size)
    draw = ImageDraw.Draw(mask)
    for index, ship in enumerate(ships, 1):
        draw.polygon(ship.outline.ravel().tolist(), fill=(index * 40 % 256, index * 90 % 256, 255))
    for kind in MASKS:
        mask.save(folder / f"{stem}_{kind}.png")


def _contour(ship: Ship) -> list[list[float]]:
    """Pixels along the ship's outline, as whole numbers."""
    closed = np.vstack([ship.outline, ship.outline[:1]])
    steps = np.linspace(0, 1, 12, endpoint=False)[:, None]
    dense = np.concatenate([a + (b - a) * steps for a, b in itertools.pairwise(closed)])
    return np.unique(np.floor(dense), axis=0).tolist()


def _row(ship: Ship, number: int, image: int, points: Sequence[Sequence[float]]) -> dict[str, Any]:
    pixels = np.floor(np.array(points))
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "segmentation": [np.ravel(points).tolist()],
        "area": float(round(ship.rotated[2] * ship.rotated[3] * 0.8)),
        "bbox": [*low.tolist(), *(high - low + 1).tolist()],
        "iscrowd": 0,
    }


def _jpg_tables(images: Mapping[str, list[Ship]]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for number, ships in enumerate(images.values()):
        for ship in ships:
            points = ship.outline.tolist() if len(rows) % 3 == 0 else _contour(ship)
            rows.append(_row(ship, len(rows), number, points))
    named = [
        {
            "license": 0,
            "url": None,
            "file_name": f"{stem}.jpg",
            "height": _SIDE,
            "width": _SIDE,
            "date_captured": None,
            "id": number,
        }
        for number, stem in enumerate(images)
    ]
    category = {"supercategory": None, "id": 1, "name": "ship"}
    return {"images": named, "annotations": rows, "categories": [category]}


def _png_tables(rng: Rng, images: Mapping[str, list[Ship]], first: int) -> dict[str, Any]:
    named: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for number, (stem, ships) in enumerate(images.items(), first):
        masks = {key: f"{stem}_{kind}.png" for key, kind in zip(("seg_file_name", "ins_file_name"), MASKS, strict=True)}
        named.append({"id": number, "width": _SIDE, "height": _SIDE, "file_name": f"{stem}.png", **masks})
        for ship in ships:
            row = _row(ship, first + len(images) + len(rows), number, _contour(ship)) | {"category_name": "ship"}
            rows.append(row | {"area": int(row["area"])})
    category = {"id": 1, "name": "ship", "supercategory": None}
    shuffled = {
        "images": [named[index] for index in rng.permutation(len(named))],
        "annotations": [rows[index] for index in rng.permutation(len(rows))],
    }
    return {"categories": [category], **shuffled}


def _write_json(path: Path, tables: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tables))
