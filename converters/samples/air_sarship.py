"""A fake AIR-SARShip: 16-bit amplitude TIFFs and the labels of either release.

2.0: FAIR1M-like XML with rings of ``x, y`` text (comma and blank), some with fractions, and ``filename`` with another
suffix. 1.0: larger scenes, VOC XML named with and without ``-label``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from converters.catalog import facts
from converters.samples.counts import split_counts
from converters.samples.noise import make_pool
from converters.samples.sea import Ship, paint_amplitude, scatter_ships
from converters.samples.voc_xml import Node, bndbox, document, flags, head

_IMAGES = {"train": 3, "test": 2}
SIDES = {"1.0": 1300, "2.0": 1000}
GAIN = 40


def write(
    root: Path,
    *,
    images_per_split: int | Mapping[str, int] | None = None,
    seed: int = 0,
    release: Literal["1.0", "2.0"] = "2.0",
    side: Annotated[int, Field(ge=200, le=4000)] | None = None,
) -> dict[str, Any]:
    """Write the fake into `root`.

    Args:
        root: becomes the source's root.
        images_per_split: one number for both splits, or a number by split.
        seed: equal seeds and options give equal bytes.
        release: whose folders and labels are written.
        side: of the square scenes in pixels; None for 1,300 (1.0, larger than a tile) and 1,000 (2.0).

    Returns:
        Images and objects per split.
    """
    counts = split_counts(images_per_split, _IMAGES)
    rng = np.random.default_rng(seed)
    side = side or SIDES[release]
    pool = make_pool(rng, side + 60, side + 60, planes=2)
    data, labels = (root / f"AIR-SARShip-{release}-{part}" for part in ("data", "xml"))
    for folder in (data, labels):
        folder.mkdir(parents=True)
    first = facts("air-sarship").variants[release].published["train"].images or 0
    objects = dict.fromkeys(counts, 0)
    for split, count in counts.items():
        for index in range(count):
            number = index + 1 + (0 if split == "train" else first)
            stem = str(number) if release == "2.0" else f"SARShip-1.0-{number}"
            ships = scatter_ships(rng, (side, side), 3 + index % 3, (20, 90))
            values = paint_amplitude(rng, pool, (side, side), ships, shore=index % 2 == 0) * GAIN
            Image.fromarray(np.clip(values, 0, 65535).astype(np.uint16)).save(data / f"{stem}.tiff")
            name = f"{stem}-label" if release == "1.0" and number % 2 == 0 else stem
            text = document(_ring_nodes(stem, ships) if release == "2.0" else _voc_nodes(stem, side, ships))
            (labels / f"{name}.xml").write_text(text, encoding="utf-8")
            objects[split] += len(ships)
    return {"images": dict(counts), "objects": objects}


def _ring_nodes(stem: str, ships: Sequence[Ship]) -> list[Node]:
    nodes: list[Node] = []
    for index, ship in enumerate(ships):
        x1, y1, x2, y2 = (round(edge, 6 if index % 2 else None) for edge in ship.extent)
        ring = [(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)]
        points = [("point", f"{x}, {y}") for x, y in ring]
        nodes.append(("object", [("possibleresult", [("name", "ship")]), ("points", points)]))
    return [("source", [("filename", f"{stem}.jpg"), ("origin", "GF3")]), ("objects", nodes)]


def _voc_nodes(stem: str, side: int, ships: Sequence[Ship]) -> list[Node]:
    nodes = head(f"{stem}.tiff", "AIR-SARShip", (side, side), depth=1)
    for ship in ships:
        box = bndbox([round(edge) for edge in ship.extent])
        nodes.append(("object", [("name", "ship"), *flags(difficult=0), box]))
    return nodes
