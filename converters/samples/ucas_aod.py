"""A fake UCAS-AOD: PNGs beside their labels in ``CAR`` and ``PLANE`` with the same names, and ``Neg``.

Labels have 13 numbers in scientific notation with a tab after each; one file begins with a byte order mark; the folders
hold a stray text file that is no label.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from converters.catalog import facts
from converters.samples.aerial import PlacedObject, check_range, paint, scatter
from converters.samples.noise import make_pool

_SIZES = ((1280, 659), (1372, 941))
_LOOKS = {"CAR": "small-vehicle", "PLANE": "plane"}


def write(
    root: Path,
    *,
    images_per_folder: Annotated[int, Field(ge=2, le=500)] = 3,
    seed: int = 0,
    objects_per_image: tuple[int, int] = (2, 6),
) -> dict[str, Any]:
    """Write the fake into `root`.

    Args:
        root: becomes the source's root.
        images_per_folder: images of each class and of the negatives.
        seed: equal seeds and options give equal bytes.
        objects_per_image: least and greatest number of objects.

    Returns:
        Images by folder and objects by label.
    """
    least, greatest = check_range(objects_per_image)
    rng = np.random.default_rng(seed)
    pool = make_pool(rng, 980, 1400, planes=2)
    objects: dict[str, int] = {}
    for label in (*facts("ucas-aod").classes, "Neg"):
        folder = root / label
        folder.mkdir(parents=True)
        for number in range(images_per_folder):
            size = _SIZES[number % len(_SIZES)]
            if label == "Neg":
                paint(rng, pool, size, []).save(folder / f"N{number + 1:04d}.png", compress_level=1)
                continue
            placed = scatter(rng, (_LOOKS[label],), size, int(rng.integers(least, greatest + 1)))
            paint(rng, pool, size, placed).save(folder / f"P{number + 1:04d}.png", compress_level=1)
            text = ("\ufeff" if number == 1 else "") + "".join(_line(one) for one in placed)
            (folder / f"P{number + 1:04d}.txt").write_text(text, encoding="utf-8")
            objects[label] = objects.get(label, 0) + len(placed)
        if label != "Neg":
            (folder / "names.txt").write_text("no label file\n", encoding="utf-8")
    return {"images": dict.fromkeys((*objects, "Neg"), images_per_folder), "labels": objects}


def _line(one: PlacedObject) -> str:
    xmin, ymin, xmax, ymax = one.edges
    corners = [value for corner in one.corners for value in corner]
    # The horizontal box was drawn on its own and is no hull of the corners.
    values = [*corners, float(np.degrees(one.rotated[4])), xmin + 2, ymin + 1, xmax - xmin - 3, ymax - ymin - 2]
    return "".join(f"{value:.6e}\t" for value in values) + "\n"
