"""A fake VisDrone-DET: JPEG frames of several sizes with comma-separated labels in the folders of the real archives.

Every file has an ignored region; the lines of every other file end in a comma.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converters.catalog import facts
from converters.samples.aerial import PlacedObject, check_range, paint, scatter
from converters.samples.counts import split_counts
from converters.samples.noise import make_pool

_IMAGES = {"train": 4, "val": 2, "test": 2}
_FOLDERS = {"train": "train", "val": "val", "test": "test-dev"}
_SIZES = ((960, 540), (1360, 765), (480, 360))


def write(
    root: Path,
    *,
    images_per_split: int | Mapping[str, int] | None = None,
    seed: int = 0,
    objects_per_image: tuple[int, int] = (3, 10),
    degenerate: bool = False,
) -> dict[str, Any]:
    """Write the fake into `root`.

    Args:
        root: becomes the source's root.
        images_per_split: one number for all splits, or a number by split.
        seed: equal seeds and options give equal bytes.
        objects_per_image: least and greatest number of objects that are not ignored.
        degenerate: whether the second file of a split has a box without height, as three of the real ones.

    Returns:
        Images by split and lines by label.
    """
    counts = split_counts(images_per_split, _IMAGES)
    least, greatest = check_range(objects_per_image)
    rng = np.random.default_rng(seed)
    pool = make_pool(rng, 800, 1400, planes=2)
    fact = facts("visdrone")
    names = (fact.ignored_labels[0], *fact.classes, fact.ignored_labels[1])
    found: Counter[str] = Counter()
    number = 0
    for split, count in counts.items():
        base = root / f"VisDrone2019-DET-{_FOLDERS[split]}"
        for part in ("images", "annotations"):
            (base / part).mkdir(parents=True)
        for index in range(count):
            size = _SIZES[number % len(_SIZES)]
            placed = scatter(rng, names[1:-1], size, int(rng.integers(least, greatest + 1)), upright=True)
            # Two frames of a sequence follow each other; a third is a still.
            stem = f"{number // 2:07d}_{number * 400 + 1:05d}_d_{number:07d}"
            if index % 3 == 2:
                stem = f"9999985_00000_d_{number:07d}"
            paint(rng, pool, size, placed).save(base / "images" / f"{stem}.jpg", quality=85)
            rows = _rows(placed, names, index, degenerate)
            (base / "annotations" / f"{stem}.txt").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
            found.update(names[int(row.split(",")[5])] for row in rows)
            number += 1
    return {"images": dict(counts), "labels": dict(found)}


def _rows(placed: Sequence[PlacedObject], names: Sequence[str], index: int, degenerate: bool) -> list[str]:
    rows = ["0,0,40,30,0,0,0,0"]
    for place, one in enumerate(placed):
        xmin, ymin, xmax, ymax = one.edges
        row = f"{xmin},{ymin},{xmax - xmin},{ymax - ymin},1,{names.index(one.label)},{place % 2},{place % 3}"
        rows.append(row + ("," if index % 2 else ""))
    rows.append(f"50,8,20,12,{index % 2},{len(names) - 1},0,0")
    if degenerate and index == 1:
        rows.append("100,60,12,0,1,4,0,0")
    return rows
