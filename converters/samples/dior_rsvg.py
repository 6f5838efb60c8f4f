"""A fake DIOR-RSVG: 800-pixel JPEGs, XML files with a description in every object, and lists of running numbers.

File names have gaps; the expressions of one image fall into several splits, as in the real set.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from converters.catalog import facts
from converters.samples.aerial import PlacedObject, check_range, paint, scatter
from converters.samples.noise import Rng, make_pool
from converters.samples.voc_xml import bndbox, document, head

_SIDE = 800
# Shares of the real lists, rounded.
_SPLITS = ("train", "train", "train", "val", "test")


def write(
    root: Path,
    *,
    images: Annotated[int, Field(ge=1, le=1000)] = 6,
    seed: int = 0,
    objects_per_image: tuple[int, int] = (2, 4),
) -> dict[str, Any]:
    """Write the fake into ``root/DIOR_RSVG``.

    Args:
        root: becomes the source's root.
        images: number of images over all splits.
        seed: equal seeds and options give equal bytes.
        objects_per_image: least and greatest number of objects.

    Returns:
        Images in all, expressions per split.
    """
    least, greatest = check_range(objects_per_image)
    rng = np.random.default_rng(seed)
    pool = make_pool(rng, _SIDE + 32, _SIDE + 32, planes=2)
    base = root / "DIOR_RSVG"
    for folder in ("Annotations", "JPEGImages"):
        (base / folder).mkdir(parents=True)
    labels = tuple(facts("dior-rsvg").classes)
    total = 0
    for number in range(images):
        stem = f"{number * 37 + 5:05d}"
        placed = scatter(rng, labels, (_SIDE, _SIDE), int(rng.integers(least, greatest + 1)), upright=True)
        paint(rng, pool, (_SIDE, _SIDE), placed).save(base / "JPEGImages" / f"{stem}.jpg", quality=85)
        (base / "Annotations" / f"{stem}.xml").write_text(_xml(stem, placed), encoding="utf-8")
        total += len(placed)
    counts = {}
    for split, numbers in _divide(rng, total).items():
        (base / f"{split}.txt").write_text("".join(f"{number}\n" for number in numbers), encoding="utf-8")
        counts[split] = len(numbers)
    return {"images": images, "expressions": counts}


def _divide(rng: Rng, total: int) -> dict[str, list[int]]:
    parts: dict[str, list[int]] = {split: [] for split in dict.fromkeys(_SPLITS)}
    for place, number in enumerate(rng.permutation(total).tolist()):
        parts[_SPLITS[place % len(_SPLITS)]].append(number)
    return {split: sorted(numbers) for split, numbers in parts.items()}


def _xml(stem: str, placed: Sequence[PlacedObject]) -> str:
    nodes = head(f"{stem}.jpg", "DIOR", (_SIDE, _SIDE))
    for one in placed:
        xmin, ymin, xmax, ymax = one.edges
        inner = [
            ("name", one.label),
            ("pose", "Unspecified"),
            bndbox((xmin + 1, ymin + 1, xmax, ymax)),
            ("description", _describe(one)),
        ]
        nodes.append(("object", inner))
    return document(nodes)


def _describe(one: PlacedObject) -> str:
    """Template English as in the real set, with its wrong articles."""
    x, y = one.rotated[:2]
    vertical = "upper" if y < _SIDE / 3 else "lower" if y > _SIDE * 2 / 3 else ""
    horizontal = "left" if x < _SIDE / 3 else "right" if x > _SIDE * 2 / 3 else ""
    place = f"on the {' '.join(filter(None, (vertical, horizontal)))}" if vertical or horizontal else "in the middle"
    return f"A {one.label} {place}"
