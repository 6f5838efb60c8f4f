"""A fake DSCR: painted BMP crops of ships and one PNG, tables with misleading headers, Chinese and augmented names.

The table of val says some rows twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converters.catalog import facts
from converters.samples.counts import split_counts
from converters.samples.noise import make_pool
from converters.samples.scenes import save_image
from converters.samples.ships import LARGEST, crop_size, paint_ship

_IMAGES = {"train": 14, "val": 7, "test": 7}
PATTERNS = (
    "crop_ru201904211947{number:08d}_.bmp",
    "lightness_1.07201904212{number:08d}_.bmp",
    "20090531吉萨普_{number}.bmp",
    "P{number:04d}_2.bmp",
    "rotate_270201904211{number:08d}_.bmp",
)
PNG_NAME = "20151031_{number}.png"


def write(root: Path, *, images_per_split: int | Mapping[str, int] | None = None, seed: int = 0) -> dict[str, Any]:
    """Write the fake into `root`.

    Args:
        root: becomes the source's root.
        images_per_split: one number for all splits, or a number by split.
        seed: equal seeds and options give equal bytes.

    Returns:
        Images per split and rows per table.
    """
    counts = split_counts(images_per_split, _IMAGES)
    rng = np.random.default_rng(seed)
    pool = make_pool(rng, LARGEST + 64, LARGEST + 64)
    labels = tuple(facts("dscr").classes)
    (root / "annotations").mkdir(parents=True)
    rows: dict[str, list[str]] = {}
    number = 0
    for split, count in counts.items():
        rows[split] = []
        for _ in range(count):
            label = labels[number % len(labels)]
            pattern = PNG_NAME if number == 1 else PATTERNS[number % len(PATTERNS)]
            name = pattern.format(number=number)
            save_image(paint_ship(label, rng, pool, *crop_size(number)), root / "images" / name)
            rows[split].append(f"{name},{label}")
            number += 1
        if split == "val":
            rows[split] += [row for row in rows[split] if row.endswith(",civil")]
        text = "".join(f"{row}\n" for row in ("class,label", *rows[split]))
        (root / "annotations" / f"{split}.csv").write_text(text, encoding="utf-8")
    return {"images": dict(counts), "rows": {split: len(table) for split, table in rows.items()}}
