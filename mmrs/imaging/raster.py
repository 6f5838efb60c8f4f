"""Files read through rasterio: opened by their first bytes, with a bounded cache, in plain pixel types.

rasterio reads windows of scenes that do not fit into memory, more than 8 bits, and more than four bands. Only the
formats that the sources use are tried, and no file beside the image (statistics, overviews) is looked at.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmrs.errors import BadItem
from mmrs.source import BandSelection

CACHE_BYTES = 256 * 2**20
"""GDAL's block cache. It must hold one row of windows (1,024 x 20,000 px x 3 bands x 4 bytes), or formats without
random access are decoded once per window; left alone it takes a twentieth of the machine's memory."""

_DRIVERS = (
    (b"II*\0", "GTiff"),
    (b"MM\0*", "GTiff"),
    (b"II+\0", "GTiff"),
    (b"MM\0+", "GTiff"),
    (b"\x89PNG", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"BM", "BMP"),
)
_STRIP_PIXELS = 2_000_000


def raster_driver(path: Path) -> str | None:
    """GDAL's driver for a file by its first bytes, None where no format of the sources fits or nothing can be read."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError:
        return None
    return next((driver for magic, driver in _DRIVERS if start.startswith(magic)), None)


@contextmanager
def open_scene(path: Path) -> Iterator[Any]:
    """A rasterio dataset; every fault of the file, also while it is read, becomes `BadItem`."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    driver = raster_driver(path)
    if driver is None:
        raise BadItem("scene cannot be read: no known format fits the file's first bytes", str(path))
    try:
        with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES, GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                scene = rasterio.open(path, driver=driver)
            with scene:
                yield scene
    except RasterioError as error:
        raise BadItem(f"scene cannot be read: {error}", str(path)) from error


def stored_bands(scene: Any, selection: BandSelection | None, path: Path) -> tuple[int, ...]:
    """Numbers (from 1) of the bands that become the picture: the source's selection, else one grey or three colours.

    A second band of two (alpha, or the cross polarisation of SAR) and a fourth of four are left out.

    Raises:
        BadItem: the file lacks a selected band, or has more than four and its source selects none.
    """
    if selection is not None:
        if max(selection.bands) > scene.count:
            asked = ", ".join(map(str, selection.bands))
            raise BadItem(f"image has {scene.count} bands; bands {asked} are asked for", str(path))
        return selection.bands
    if scene.count > 4:
        raise BadItem(f"image has {scene.count} bands; 1 to 4 are known without a band selection", str(path))
    return (1,) if scene.count < 3 else (1, 2, 3)


def read_plain(scene: Any, bands: Sequence[int], area: tuple[int, int, int, int]) -> npt.NDArray[Any]:
    """Pixels ``(B, H, W)`` of (x, y, width, height) as uint8, uint16, int16, uint32, int32 or float32.

    Complex values become their modulus; wider numbers become float32.
    """
    from rasterio.windows import Window

    return plain(scene.read(list(bands), window=Window(*area)))


def plain(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same values in one of the six types of `read_plain`."""
    if pixels.dtype in (np.uint8, np.uint16, np.int16, np.uint32, np.int32, np.float32):
        return pixels
    if pixels.dtype == np.int8:
        return pixels.astype(np.int16)
    if pixels.dtype.kind == "c":
        return np.abs(pixels).astype(np.float32)
    if pixels.dtype.kind in "uif":
        # Values beyond the range of float32 become infinite, hence invalid, like NaN.
        with np.errstate(over="ignore"):
            return pixels.astype(np.float32)
    raise BadItem(f"pixels of type {pixels.dtype} have no rendering rule")


def strips(scene: Any, bands: Sequence[int]) -> Iterator[npt.NDArray[Any]]:
    """The whole scene once, as plain ``(H, W)`` strips of about `_STRIP_PIXELS` pixels, band by band within a strip.

    Strips follow the file's own blocks where these are not larger than a strip may be.
    """
    rows = max(1, _STRIP_PIXELS // scene.width)
    block = scene.block_shapes[0][0]
    if block < rows:
        rows -= rows % block
    for y in range(0, scene.height, rows):
        height = min(rows, scene.height - y)
        for band in bands:
            yield read_plain(scene, [band], (0, y, scene.width, height))[0]
