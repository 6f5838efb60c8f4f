"""Files read through rasterio: opened by their first bytes, with a bounded cache, in plain pixel types.

rasterio reads windows of scenes that do not fit into memory, more than 8 bits, and more than four bands. Only the
formats that the sources use are tried, and no file beside the image (statistics, overviews) is looked at.
"""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmrs.errors import BadItem
from mmrs.imaging.limits import check_at_once
from mmrs.imaging.render import plain
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
_PICTURE_COLOURS = frozenset({"undefined", "gray", "palette", "red", "green", "blue", "alpha", "nir"})
_TABLE_ENTRIES = {"uint8": 1 << 8, "uint16": 1 << 16}


class UnreadableScene(BadItem):
    """rasterio cannot read the file; another library might."""


def raster_driver(path: Path, data: bytes | None = None) -> str | None:
    """GDAL's driver for a file by its first bytes, None where no format of the sources fits or nothing can be read.

    `data` is the file's content where it was read already.
    """
    try:
        start = _first_bytes(path) if data is None else data[:4]
    except OSError:
        return None
    return next((driver for magic, driver in _DRIVERS if start.startswith(magic)), None)


def _first_bytes(path: Path) -> bytes:
    # Without O_NONBLOCK a named pipe would keep us waiting for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    finally:
        os.close(descriptor)


@contextmanager
def open_scene(path: Path, data: bytes | None = None) -> Iterator[Any]:
    """A rasterio dataset; every fault of the file, also while it is read, becomes `UnreadableScene`.

    `data` is the file's content where it was read already.

    Raises:
        BadItem: no such file, no known format, a block beyond the bounds of `mmrs.imaging.limits`, or rasterio is not
            installed (training does without it).
    """
    if data is None and not path.is_file():
        raise BadItem("image file not found", str(path))
    driver = raster_driver(path, data)
    if driver is None:
        raise BadItem("scene cannot be read: no known format fits the file's first bytes", str(path))
    try:
        import rasterio
        from rasterio.errors import NotGeoreferencedWarning, RasterioError
        from rasterio.io import MemoryFile
    except ImportError as error:
        raise BadItem(f"a {driver} of this kind needs rasterio: pip install rasterio", str(path)) from error
    try:
        with ExitStack() as opened:
            opened.enter_context(rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES, GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                if data is None:
                    scene = rasterio.open(path, driver=driver)
                else:
                    scene = opened.enter_context(MemoryFile(data)).open(driver=driver)
            opened.enter_context(scene)
            _check_block(scene, path)
            yield scene
    except RasterioError as error:
        raise UnreadableScene(f"scene cannot be read: {_root_message(error)}", str(path)) from error


def _check_block(scene: Any, path: Path) -> None:
    # A block is decoded whole and with all of its bands, whichever are asked for.
    for height, width in scene.block_shapes[:1]:
        check_at_once(width, height, scene.count * sample_type(scene, 1).itemsize, "a block", str(path))


def _root_message(error: BaseException) -> str:
    """What GDAL said; rasterio often only points to it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)


def stored_bands(scene: Any, selection: BandSelection | None, path: Path) -> tuple[int, ...]:
    """Numbers (from 1) of the bands that become the picture: the source's selection, else one grey or three colours.

    A second band of two (alpha, or the cross polarisation of SAR) and a fourth of four are left out.

    Raises:
        BadItem: the file lacks a selected band, has more than four and its source selects none, or has colours that are
            neither grey, RGB nor a palette.
    """
    if selection is not None:
        if max(selection.bands) > scene.count:
            asked = ", ".join(map(str, selection.bands))
            raise BadItem(f"image has {scene.count} bands; bands {asked} are asked for", str(path))
        return selection.bands
    if scene.count > 4:
        raise BadItem(f"image has {scene.count} bands; 1 to 4 are known without a band selection", str(path))
    colours = [colour.name for colour in scene.colorinterp]
    if not _PICTURE_COLOURS.issuperset(colours):
        stated = f"image has the bands {', '.join(colours)} of {scene.dtypes[0]}"
        raise BadItem(f"{stated}; convert it to RGB, or select bands", str(path))
    return (1,) if scene.count < 3 else (1, 2, 3)


def sample_type(scene: Any, band: int) -> np.dtype[Any]:
    """The numpy type in which a band is read."""
    stated = scene.dtypes[band - 1]
    # GDAL has a complex type of integers, numpy has not.
    return np.dtype("complex64" if stated == "complex_int16" else stated)


def is_min_white(scene: Any) -> bool:
    """Whether 0 is white. GDAL leaves such samples as they are."""
    return scene.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES"


def lookup_table(scene: Any, band: int) -> npt.NDArray[np.uint8] | None:
    """What the samples of a band look like, where they are no levels themselves.

    Returns:
        ``(N, 3)`` for a palette, ``(N,)`` for levels of fewer than 8 bits or where 0 is white, None for all else.
    """
    from rasterio.enums import ColorInterp

    stated = scene.dtypes[band - 1]
    bits = int(scene.tags(band, ns="IMAGE_STRUCTURE").get("NBITS", 8))
    if stated not in _TABLE_ENTRIES or (is_min_white(scene) and stated != "uint8"):
        return None
    if scene.colorinterp[band - 1] == ColorInterp.palette:
        # A palette need not define all entries; pixels use the defined ones only.
        table = np.zeros((_TABLE_ENTRIES[stated], 3), dtype=np.uint8)
        for index, colour in scene.colormap(band).items():
            table[index] = colour[:3]
        # GDAL gives a palette, too, to what is black and white, and to levels whose 0 is white.
        is_grey = (bits == 1 or is_min_white(scene)) and bool((table == table[:, :1]).all())
        return table[:, 0] if is_grey else table
    if stated == "uint8" and bits < 8:
        levels = np.arange(1 << 8, dtype=np.float64) * 255 / ((1 << bits) - 1)
        return np.floor(np.minimum(levels, 255) + 0.5).astype(np.uint8)
    return None


def read_plain(scene: Any, bands: Sequence[int], area: tuple[int, int, int, int]) -> npt.NDArray[Any]:
    """Pixels ``(B, H, W)`` of (x, y, width, height) as uint8, uint16, int16, uint32, int32 or float32.

    Complex values become their modulus; wider numbers become float32.
    """
    from rasterio.windows import Window

    return plain(scene.read(list(bands), window=Window(*area)))


def strips(scene: Any, bands: Sequence[int]) -> Iterator[npt.NDArray[Any]]:
    """The whole scene once, as plain ``(H, W)`` strips of about `_STRIP_PIXELS` pixels, band by band within a strip.

    Strips follow the file's own blocks where these are not larger than a strip may be; rows longer than that are cut.
    """
    rows = max(1, _STRIP_PIXELS // scene.width)
    block = scene.block_shapes[0][0]
    if block < rows:
        rows -= rows % block
    for y in range(0, scene.height, rows):
        height = min(rows, scene.height - y)
        for x in range(0, scene.width, _STRIP_PIXELS):
            width = min(_STRIP_PIXELS, scene.width - x)
            for band in bands:
                yield read_plain(scene, [band], (x, y, width, height))[0]
