"""A fake UC Merced: painted 256-pixel RGB TIFFs in class folders, some a little short, and the stray readmes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from converters.catalog import facts, nearest
from converters.samples.noise import make_pool
from converters.samples.scenes import SCENES, paint_scene
from mmrs.errors import UserError

SIDE = 256
SHORT_SIDE = 253
SHORT_EVERY = 9


def write(
    root: Path,
    *,
    images_per_class: Annotated[int, Field(ge=1, le=100)] = 5,
    seed: int = 0,
    classes: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Write the fake into ``root/UCMerced_LandUse``.

    Args:
        root: becomes the source's root.
        images_per_class: 1 to 100, as many as the real set has.
        seed: equal seeds and options give equal bytes.
        classes: source labels to write; None for all 21.

    Returns:
        Images by class and in all.
    """
    rng = np.random.default_rng(seed)
    pool = make_pool(rng, SIDE + 64, SIDE + 64)
    labels = tuple(facts("ucmerced").classes) if classes is None else tuple(classes)
    for label in labels:
        if label not in SCENES:
            raise UserError(
                f"UC Merced has no class {label!r}{nearest(label, SCENES)}; `mmrs sources ucmerced` lists them"
            )
    base = root / "UCMerced_LandUse"
    for label in labels:
        folder = base / "Images" / label
        folder.mkdir(parents=True)
        for number in range(images_per_class):
            height = SHORT_SIDE if number % SHORT_EVERY == SHORT_EVERY - 1 or number == 1 else SIDE
            paint_scene(label, rng, pool, SIDE, height).save(folder / f"{label}{number:02d}.tif")
    for name in ("readme.txt", "readme.txt.bak"):
        (base / name).write_text("Painted sample in the layout of the UC Merced land use data set.\n")
    return {"images": images_per_class * len(labels), "classes": {label: images_per_class for label in labels}}
