"""TIFF files of any type and number of bands, written through rasterio."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning


def write_tiff(path: Path, pixels: np.ndarray, descriptions: tuple[str, ...] = (), **options: Any) -> Path:
    """Write ``(H, W)`` or ``(B, H, W)`` pixels; `options` are those of GDAL's GTiff driver and ``nodata``."""
    bands = pixels[None] if pixels.ndim == 2 else pixels
    count, height, width = bands.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        profile = {"driver": "GTiff", "width": width, "height": height, "count": count, "dtype": bands.dtype}
        with rasterio.open(path, "w", **profile, **options) as file:
            file.write(bands)
            for number, text in enumerate(descriptions, 1):
                file.set_band_description(number, text)
    return path
