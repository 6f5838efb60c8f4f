"""A fake NWPU VHR-10: positive and negative JPEGs with the same names, txt labels, and the COCO file of other boxes.

Label lines end in a blank, some have blanks inside the parentheses, and files end in an empty line.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from converters.catalog import facts
from converters.samples.aerial import PlacedObject, check_range, paint, scatter
from converters.samples.noise import make_pool

_SIZES = ((958, 808), (1100, 760), (640, 533))


def write(
    root: Path,
    *,
    positives: Annotated[int, Field(ge=2, le=650)] = 6,
    negatives: Annotated[int, Field(ge=0, le=150)] = 4,
    seed: int = 0,
    objects_per_image: tuple[int, int] = (1, 5),
) -> dict[str, Any]:
    """Write the fake into ``root/NWPU VHR-10 dataset``.

    Args:
        root: becomes the source's root.
        positives: images with objects.
        negatives: images without.
        seed: equal seeds and options give equal bytes.
        objects_per_image: least and greatest number of objects of a positive image.

    Returns:
        Images of both kinds, objects, and objects by label.
    """
    least, greatest = check_range(objects_per_image)
    rng = np.random.default_rng(seed)
    pool = make_pool(rng, 860, 1150, planes=2)
    labels = tuple(facts("nwpu-vhr10").classes)
    base = root / "NWPU VHR-10 dataset"
    folders = {name: base / name for name in ("ground truth", "positive image set", "negative image set")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    images: list[tuple[tuple[int, int], list[PlacedObject]]] = []
    for number in range(positives):
        size = _SIZES[number % len(_SIZES)]
        placed = scatter(rng, labels, size, int(rng.integers(least, greatest + 1)), upright=True)
        images.append((size, placed))
        paint(rng, pool, size, placed).save(folders["positive image set"] / f"{number + 1:03d}.jpg", quality=85)
        (folders["ground truth"] / f"{number + 1:03d}.txt").write_bytes(_lines(placed, labels, number).encode())
    for number in range(negatives):
        paint(rng, pool, _SIZES[number % len(_SIZES)], []).save(folders["negative image set"] / f"{number + 1:03d}.jpg")
    (base / "readme.txt").write_text("Painted sample in the layout of NWPU VHR-10.\n", encoding="utf-8")
    (base / "annotations.json").write_text(json.dumps(_coco(images, labels)), encoding="utf-8")
    found = Counter(one.label for _, placed in images for one in placed)
    return {"images": {"positive": positives, "negative": negatives}, "objects": found.total(), "labels": dict(found)}


def _lines(placed: Sequence[PlacedObject], labels: Sequence[str], number: int) -> str:
    rows = []
    for one in placed:
        x1, y1, x2, y2 = one.edges
        corners = f"( {x1}, {y1}),({x2},{y2} )" if number % 2 else f"({x1},{y1}),({x2},{y2})"
        rows.append(f"{corners},{labels.index(one.label) + 1} \r\n")
    return "".join([*rows, "\r\n"])


def _coco(images: Sequence[tuple[tuple[int, int], list[PlacedObject]]], labels: Sequence[str]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for image_id, (_, placed) in enumerate(images):
        for one in placed:
            # The relabelled boxes are tighter, and have fractions.
            x1, y1, x2, y2 = one.edges
            box = [x1 + 0.5, y1 + 0.5, x2 - x1 - 1.0, y2 - y1 - 1.0]
            polygon = [value for corner in one.corners for value in corner]
            row = {"id": len(rows), "image_id": image_id, "category_id": labels.index(one.label) + 1, "iscrowd": 0}
            rows.append(row | {"bbox": box, "area": box[2] * box[3], "segmentation": [polygon]})
    return {
        "images": [
            {"id": image_id, "file_name": f"{image_id + 1:03d}.jpg", "width": size[0], "height": size[1]}
            for image_id, (size, _) in enumerate(images)
        ],
        "categories": [{"id": number + 1, "name": label.replace(" ", "_")} for number, label in enumerate(labels)],
        "annotations": rows,
    }
