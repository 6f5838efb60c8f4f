"""What an image file's header says, and whether its bytes can be stored unchanged. No pixel is decoded here."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import BmpImagePlugin, GifImagePlugin, Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from mmrs.errors import BadItem
from mmrs.imaging.jpeg_header import PlainJpeg, read_plain_jpeg
from mmrs.imaging.raster import open_scene, raster_driver, stored_bands
from mmrs.source import BandSelection

MAX_PIXELS = 178_956_970
"""Largest image decoded whole, in pixels (Pillow's own limit). Larger scenes are only read through windows."""

MAX_SCENE_PIXELS = 2_500_000_000
"""Largest scene accepted for tiling, in pixels: DOTA-v2.0 has 625,847,040."""

# Formats that the sources use. Others (and their parsers' faults) are not tried on files from strangers.
# Naming their plugins registers them: Pillow otherwise knows TIFF and WebP only after loading every plugin it has.
FORMATS = (
    "JPEG",
    "PNG",
    TiffImagePlugin.TiffImageFile.format,
    BmpImagePlugin.BmpImageFile.format,
    GifImagePlugin.GifImageFile.format,
    WebPImagePlugin.WebPImageFile.format,
)
_ORIENTATION_TAG = 0x0112
_FORMAT_OF_DRIVER = {"GTiff": "TIFF"}


@dataclass(frozen=True, slots=True)
class ImageProbe:
    """Header facts. `width` and `height` in pixels as stored, before any EXIF rotation.

    `reencode` says why the file's bytes cannot be stored as they are, None where they can. The pixels of a `raster` are
    read through rasterio and rendered: more than 8 bits a sample, selected bands, or a TIFF that Pillow does not know.
    """

    width: int
    height: int
    format: str
    mode: str
    file_bytes: int
    mtime_ns: int
    orientation: int
    reencode: str | None
    raster: bool = False

    @property
    def suffix(self) -> Literal["jpg", "png"] | None:
        """Suffix of the stored member when the bytes pass through, else None."""
        if self.reencode is not None:
            return None
        return "jpg" if self.format == "JPEG" else "png"

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) in pixels after the EXIF rotation."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


class _UnknownFormat(BadItem):
    pass


def probe(path: Path, max_pixels: int = MAX_PIXELS, selection: BandSelection | None = None) -> ImageProbe:
    """Read the header of an image file; `selection` is the source's choice of bands where it has one.

    Raises:
        BadItem: missing, empty, unknown or damaged header, more than `max_pixels` pixels, or bands that are not there.
    """
    if selection is not None:
        return _raster_header(path, max_pixels, selection, 1)
    if (plain := read_plain_jpeg(path)) is not None:
        return _plain_header(*plain, path, max_pixels)
    try:
        with open_image(path, max_pixels) as image:
            orientation = _orientation(image)
            if not _more_than_8_bits(image):
                return _header(path, image, orientation)
    except _UnknownFormat:
        if raster_driver(path) != "GTiff":
            raise
        orientation = 1
    return _raster_header(path, max_pixels, None, orientation)


def _plain_header(jpeg: PlainJpeg, status: os.stat_result, path: Path, max_pixels: int) -> ImageProbe:
    _check_pixels(jpeg.width, jpeg.height, max_pixels, path)
    size, changed = status.st_size, status.st_mtime_ns
    return ImageProbe(jpeg.width, jpeg.height, "JPEG", jpeg.mode, size, changed, orientation=1, reencode=None)


def _header(path: Path, image: Image.Image, orientation: int) -> ImageProbe:
    status = path.stat()
    return ImageProbe(
        width=image.width,
        height=image.height,
        format=image.format or "",
        mode=image.mode,
        file_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        orientation=orientation,
        reencode=_reencode_reason(image, orientation),
    )


def _raster_header(path: Path, max_pixels: int, selection: BandSelection | None, orientation: int) -> ImageProbe:
    if not path.is_file():
        raise BadItem("image file not found", str(path))
    with open_scene(path) as scene:
        _check_pixels(scene.width, scene.height, max_pixels, path)
        bands = stored_bands(scene, selection, path)
        status, name = path.stat(), _FORMAT_OF_DRIVER.get(scene.driver, scene.driver)
        listed = ", ".join(map(str, bands))
        of_bands = f", band{'s' * (len(bands) > 1)} {listed} of {scene.count}" if len(bands) < scene.count else ""
        turned = f", EXIF orientation {orientation}" if orientation != 1 else ""
        return ImageProbe(
            width=scene.width,
            height=scene.height,
            format=name,
            mode=f"{scene.count} x {scene.dtypes[0]}",
            file_bytes=status.st_size,
            mtime_ns=status.st_mtime_ns,
            orientation=orientation,
            reencode=f"format {name}, {scene.dtypes[0]}{of_bands}{turned}",
            raster=True,
        )


def _more_than_8_bits(image: Image.Image) -> bool:
    # Pillow opens 16-bit colour as RGB and drops the lower byte of every sample; only the raw mode tells.
    tiles = getattr(image, "tile", [])
    raw = [tile.args[0] if isinstance(tile.args, tuple) and tile.args else tile.args for tile in tiles]
    return image.mode in ("I", "F") or image.mode.startswith("I;16") or any(";16" in str(mode) for mode in raw)


def _check_pixels(width: int, height: int, limit: int, path: Path) -> None:
    if width * height > limit:
        raise BadItem(f"image has {width * height:,} pixels, more than the limit of {limit:,}", str(path))


@contextmanager
def open_image(path: Path, max_pixels: int = MAX_PIXELS, data: bytes | None = None) -> Iterator[Image.Image]:
    """Open an image without decoding it; every fault of the file becomes `BadItem`.

    `data` is the file's content where it was read already.
    """
    try:
        if data is None and not path.is_file():
            raise BadItem("image file not found", str(path))
        if (path.stat().st_size if data is None else len(data)) == 0:
            raise BadItem("image file is empty (0 bytes)", str(path))
        with warnings.catch_warnings(), _without_pillow_limit():
            warnings.simplefilter("ignore")
            image = Image.open(path if data is None else io.BytesIO(data), formats=FORMATS)
        with image:
            _check_pixels(image.width, image.height, max_pixels, path)
            yield image
    except UnidentifiedImageError as error:
        raise _UnknownFormat("not an image: no known format fits the file's first bytes", str(path)) from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError) as error:
        if isinstance(error, BadItem):
            raise
        raise BadItem(f"image cannot be read: {error}", str(path)) from error


@contextmanager
def _without_pillow_limit() -> Iterator[None]:
    # Pillow checks its global limit while opening, before our own per-call limit could allow a scene to be tiled.
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _orientation(image: Image.Image) -> int:
    # The PNG reader's own `getexif` decodes the whole picture in search of a chunk behind it.
    value = Image.Image.getexif(image).get(_ORIENTATION_TAG, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _reencode_reason(image: Image.Image, orientation: int) -> str | None:
    if image.format not in ("JPEG", "PNG"):
        return f"format {image.format}"
    if getattr(image, "n_frames", 1) > 1:
        return f"{image.n_frames} frames, first taken"  # type: ignore[attr-defined]
    if image.mode not in ("L", "RGB"):
        return f"mode {image.mode}"
    if orientation != 1:
        return f"EXIF orientation {orientation}"
    if "transparency" in image.info:
        return "transparent colour"
    return None
