"""A fake FAIR1M: RGB TIFFs in two training parts and a validation set, whose names begin at 0 in each.

Rings are closed, half of them anticlockwise from an arbitrary corner; some points have a blank after the comma; the
first object of a scene reaches past the border.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from converters.catalog import facts
from converters.samples.aerial import PlacedObject, check_range, paint, scatter
from converters.samples.noise import make_pool
from converters.samples.voc_xml import document

PARTS = (
    ("train", "train/part1", "images", "labelXml"),
    ("train", "train/part2", "images-1", "labelXml"),
    ("val", "validation", "images", "labelXmls"),
)
_LARGE, _SMALL = (1300, 1100), (1000, 1000)
_DECLARATION = '<?xml version="1.0" encoding="utf-8"?>'


def write(
    root: Path,
    *,
    images_per_part: Annotated[int, Field(ge=1, le=100)] = 2,
    seed: int = 0,
    objects_per_image: tuple[int, int] = (6, 16),
) -> dict[str, Any]:
    """Write the fake into `root`.

    Args:
        root: becomes the source's root.
        images_per_part: scenes of either training part and of the validation set.
        seed: equal seeds and options give equal bytes.
        objects_per_image: least and greatest number of objects.

    Returns:
        Images and objects per split, and objects by label.
    """
    least, greatest = check_range(objects_per_image)
    rng = np.random.default_rng(seed)
    pool = make_pool(rng, _LARGE[1] + 32, _LARGE[0] + 32, planes=2)
    labels = tuple(facts("fair1m").classes)
    images: Counter[str] = Counter()
    objects: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for split, part, image_folder, label_folder in PARTS:
        for folder in (image_folder, label_folder):
            (root / part / folder).mkdir(parents=True)
        for number in range(images_per_part):
            size = _SMALL if number % 2 else _LARGE
            placed = scatter(rng, labels, size, int(rng.integers(least, greatest + 1)))
            cx, _, width, height, angle = placed[0].rotated
            placed[0] = PlacedObject(placed[0].label, (cx, size[1] - 2.5, width, height, angle))
            paint(rng, pool, size, placed).save(root / part / image_folder / f"{number}.tif", compression="tiff_lzw")
            text = _xml(number, size, placed)
            (root / part / label_folder / f"{number}.xml").write_text(text, encoding="utf-8")
            images[split] += 1
            objects[split] += len(placed)
            found.update(one.label for one in placed)
    return {"images": dict(images), "objects": dict(objects), "labels": dict(found)}


def _xml(number: int, size: tuple[int, int], placed: list[PlacedObject]) -> str:
    rows = []
    for index, one in enumerate(placed):
        ring = one.corners[index % 4 :] + one.corners[: index % 4]
        if index % 2 == 0:
            ring = ring[::-1]
        comma = ", " if index % 3 == 2 else ","
        points = [("point", f"{x:.6f}{comma}{y:.6f}") for x, y in [*ring, ring[0]]]
        rows.append(
            (
                "object",
                [
                    ("coordinate", "pixel"),
                    ("type", "rectangle"),
                    ("description", "None"),
                    ("possibleresult", [("name", one.label)]),
                    ("points", points),
                ],
            )
        )
    nodes = [
        ("source", [("filename", f"{number}.tif"), ("origin", "GF2/GF3")]),
        ("research", [("version", "1.0"), ("provider", "FAIR1M"), ("time", "2021-03")]),
        ("size", [("width", size[0]), ("height", size[1]), ("depth", 3)]),
        ("objects", rows),
    ]
    return document(nodes, indent="  ", declaration=_DECLARATION)
