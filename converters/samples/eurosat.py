"""A fake EuroSAT: painted 64-pixel scenes as RGB JPEGs and, where asked for, as 13-band 16-bit GeoTIFFs too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import rasterio
from PIL import Image
from pydantic import Field
from rasterio.transform import Affine

from converters.classification.eurosat import PLACES
from converters.samples.class_folders import ClassFolderSample, ClassLayout

_SIDE = 64
_BANDS = 13
# Natural colour in bands 4, 3, 2 (from 1): reflectance of white.
WHITE = 2750
ORIGIN, PIXEL = (600_000.0, 5_300_000.0), 10.0

_rgb = ClassFolderSample(
    "eurosat",
    folder=PLACES["rgb"][0],
    file_name=lambda label, number: f"{label}_{number + 1}.jpg",
    side=_SIDE,
    list_name="eurosat",
)


def write(
    root: Path,
    *,
    images_per_class: Annotated[int, Field(ge=1)] = 5,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    multiband: bool = False,
    split_folders: Sequence[str] = (),
    layout: ClassLayout = "official",
) -> dict[str, Any]:
    """Write the fake into `root`.

    Args:
        root: becomes the source's root.
        images_per_class: 1 or more.
        seed: equal seeds and options give equal bytes.
        classes: class folders to write; None for all.
        multiband: write the 13-band product of the same scenes too.
        split_folders: folders in the place of the usual one, to which the images of each class are dealt in turn.
        layout: official; with torchgeo's lists of three splits; or as Parquet tables of the Hugging Face Hub, RGB only.

    Returns:
        Images by class and in all, of one product.
    """
    summary = _rgb.write(
        root, images_per_class=images_per_class, seed=seed, classes=classes, split_folders=split_folders, layout=layout
    )
    for path in sorted((root / PLACES["rgb"][0]).glob("*/*.jpg")) if multiband else ():
        with Image.open(path) as image:
            pixels = np.asarray(image, dtype=np.float32)
        target = root / PLACES["ms"][0] / path.parent.name / f"{path.stem}.tif"
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_bands(target, pixels)
    return summary


def _write_bands(path: Path, pixels: npt.NDArray[np.float32]) -> None:
    """Red, green and blue of ``(H, W, 3)`` become bands 4, 3, 2; the other bands are shades of their mean."""
    grey = pixels.mean(axis=2)
    bands = np.stack([grey * (0.6 + 0.1 * number) for number in range(_BANDS)])
    bands[[3, 2, 1]] = pixels.transpose(2, 0, 1)
    values = np.round(bands * (WHITE / 255)).astype(np.uint16)
    transform = Affine(PIXEL, 0, ORIGIN[0], 0, -PIXEL, ORIGIN[1])
    profile = {"driver": "GTiff", "width": _SIDE, "height": _SIDE, "count": _BANDS, "dtype": "uint16"}
    with rasterio.open(path, "w", crs="EPSG:32632", transform=transform, **profile) as target:
        target.write(values)
