"""What an image file's header says, and whether its bytes can be stored unchanged. No pixel is decoded here.

Which library reads a file is decided here, once. TIFFs are rasterio's, all of them: what Pillow makes of their depth,
layout and sparseness is noise for some. Where rasterio refuses one, Pillow is asked, for 8 bits at most, and the reason
says so. All other formats are Pillow's up to 8 bits and where no bands are selected, else rasterio's.
"""

from __future__ import annotations

import io
import mmap
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from PIL import BmpImagePlugin, GifImagePlugin, Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin
from PIL.ImageFile import ImageFile

from mmrs.errors import BadItem
from mmrs.imaging.headers.jpeg import PlainJpeg, read_plain_jpeg
from mmrs.imaging.headers.tiff import read_tiff_header, without_orientation
from mmrs.imaging.limits import UNCOUNTED_BYTES, WHOLE_IMAGE, SizeLimit, check_jpeg_scans, check_parts
from mmrs.imaging.orientation import orientation_of_image, turn_of
from mmrs.imaging.raster import UnreadableScene, lookup_table, open_scene, raster_driver, sample_type, stored_bands
from mmrs.imaging.upright import UPRIGHT
from mmrs.source import BandSelection

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
_BITS_TAG = 258
_FORMAT_OF_DRIVER = {"GTiff": "TIFF"}


@dataclass(frozen=True, slots=True)
class ImageProbe:
    """Header facts. `width` and `height` in pixels as stored, before they are turned by `orientation` (1..8).

    `reencode` says why the file's bytes cannot be stored as they are, None where they can. The pixels of a `raster` are
    read through rasterio and rendered: TIFFs, more than 8 bits a sample, or selected bands.
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
        """(width, height) in pixels of the upright picture."""
        return turn_of(self.orientation).size(self.width, self.height)


def probe(
    path: Path, limit: SizeLimit = WHOLE_IMAGE, selection: BandSelection | None = None, data: bytes | None = None
) -> ImageProbe:
    """Read the header of an image file; `selection` is the source's choice of bands where it has one.

    `data` is the file's content where it was read already; `path` then only names it.

    Raises:
        BadItem: missing, empty, unknown or damaged header, beyond `limit`, or bands that are not there.
    """
    if selection is None and data is None and (plain := read_plain_jpeg(path)) is not None:
        return _plain_header(*plain, path, limit)
    if raster_driver(path, data) == "GTiff":
        return _tiff_header(path, limit, selection, data)
    with open_image(path, limit, data) as image:
        orientation = orientation_of_image(image)
        if selection is None and not _more_than_8_bits(image):
            return _header(_file_facts(path, data), image, orientation)
    return _raster_header(path, limit, selection, orientation, data)


def _plain_header(jpeg: PlainJpeg, status: os.stat_result, path: Path, limit: SizeLimit) -> ImageProbe:
    size, changed = status.st_size, status.st_mtime_ns
    limit.check(jpeg.width, jpeg.height, 1 if jpeg.mode == "L" else 3, size, str(path))
    return ImageProbe(jpeg.width, jpeg.height, "JPEG", jpeg.mode, size, changed, orientation=1, reencode=None)


def _file_facts(path: Path, data: bytes | None) -> tuple[int, int]:
    """(bytes, time of the last change in ns); content without a file has no time."""
    if data is not None:
        return len(data), 0
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _header(facts: tuple[int, int], image: ImageFile, orientation: int) -> ImageProbe:
    return ImageProbe(
        width=image.width,
        height=image.height,
        format=image.format or "",
        mode=image.mode,
        file_bytes=facts[0],
        mtime_ns=facts[1],
        orientation=orientation,
        reencode=_reencode_reason(image, orientation),
    )


def _tiff_header(path: Path, limit: SizeLimit, selection: BandSelection | None, data: bytes | None) -> ImageProbe:
    try:
        with path.open("rb") if data is None else io.BytesIO(data) as file:
            stated = read_tiff_header(file)
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        return _raster_header(path, limit, selection, stated.orientation, data, stated.meaning)
    except UnreadableScene as error:
        if selection is not None:
            raise
        with open_small_tiff(path, error, limit, data) as image:
            found = _header(_file_facts(path, data), image, stated.orientation)
    return replace(found, reencode=f"format TIFF, read by Pillow{_turned(stated.orientation)}")


def _raster_header(
    path: Path,
    limit: SizeLimit,
    selection: BandSelection | None,
    orientation: int,
    data: bytes | None,
    meaning: str | None = None,
) -> ImageProbe:
    with open_scene(path, data) as scene:
        facts = _file_facts(path, data)
        bands = stored_bands(scene, selection, path)
        sample_bytes = sample_type(scene, bands[0]).itemsize
        limit.check(scene.width, scene.height, len(bands) * sample_bytes, facts[0], str(path))
        colours = scene.tags(ns="IMAGE_STRUCTURE").get("SOURCE_COLOR_SPACE")
        if colours is None and meaning is not None and selection is None:
            raise BadItem(f"the TIFF's samples are {meaning}, no grey or RGB; convert it to RGB", str(path))
        if colours is not None and orientation != UPRIGHT:
            # GDAL has them converted by a function of libtiff that turns some of them, strip by strip.
            raise UnreadableScene(f"{colours} of orientation {orientation} are not read by rasterio", str(path))
        name = _FORMAT_OF_DRIVER.get(scene.driver, scene.driver)
        return ImageProbe(
            width=scene.width,
            height=scene.height,
            format=name,
            mode=f"{scene.count} x {scene.dtypes[0]}",
            file_bytes=facts[0],
            mtime_ns=facts[1],
            orientation=orientation,
            reencode=f"format {name}{_of_samples(scene, selection, bands)}{_turned(orientation)}",
            raster=True,
        )


def _of_samples(scene: Any, selection: BandSelection | None, bands: tuple[int, ...]) -> str:
    """What is said of a raster's samples, bands and pages; nothing for plain 8 bits."""
    pages = f", first of {len(scene.subdatasets)} pages" if len(scene.subdatasets) > 1 else ""
    if selection is None and (scene.dtypes[0] == "uint8" or lookup_table(scene, bands[0]) is not None):
        return pages
    listed = ", ".join(map(str, bands))
    of_bands = f", band{'s' * (len(bands) > 1)} {listed} of {scene.count}" if len(bands) < scene.count else ""
    return f", {scene.dtypes[0]}{of_bands}{pages}"


def _turned(orientation: int) -> str:
    return f", EXIF orientation {orientation}" if orientation != UPRIGHT else ""


def _more_than_8_bits(image: ImageFile) -> bool:
    # Pillow opens 16-bit colour as RGB and drops the lower byte of every sample; only the raw mode tells.
    tiles = getattr(image, "tile", [])
    raw = [tile.args[0] if isinstance(tile.args, tuple) and tile.args else tile.args for tile in tiles]
    return image.mode in ("I", "F") or image.mode.startswith("I;16") or any(";16" in str(mode) for mode in raw)


@contextmanager
def open_small_tiff(
    path: Path, refused: BadItem, limit: SizeLimit = WHOLE_IMAGE, data: bytes | None = None
) -> Iterator[ImageFile]:
    """A TIFF as it is stored, through Pillow after rasterio `refused` it; only of samples of 1 to 8 bits.

    Raises:
        BadItem: Pillow refuses it too, or it has more bits.
    """
    try:
        with open_image(path, limit, without_orientation(image_bytes(path, data))) as image:
            bits = image.tag_v2.get(_BITS_TAG, (1,)) if isinstance(image, TiffImagePlugin.TiffImageFile) else (0,)
            if not 1 <= max(bits) <= 8:
                raise BadItem(f"only 1 to 8 bits are read, not {max(bits)}")
            try:
                image.load()
            except TypeError as error:
                # Of numbers of another type than the tag's, a fraction as an offset.
                raise BadItem(f"image cannot be read: {error}") from error
            yield image
    except BadItem as error:
        raise BadItem(f"{refused.reason}; with Pillow: {error.reason}", str(path)) from error


@contextmanager
def open_image(path: Path, limit: SizeLimit = WHOLE_IMAGE, data: bytes | None = None) -> Iterator[ImageFile]:
    """Open an image without decoding it; every fault of the file becomes `BadItem`.

    `data` is the file's content where it was read already: whoever decodes hands it in, so that scans can be counted.
    """
    try:
        if data is None and not path.is_file():
            raise BadItem("image file not found", str(path))
        file_bytes = path.stat().st_size if data is None else len(data)
        if file_bytes == 0:
            raise BadItem("image file is empty (0 bytes)", str(path))
        _check_parts(path, data, file_bytes)
        with warnings.catch_warnings(), _without_pillow_limit():
            warnings.simplefilter("ignore")
            image = Image.open(path if data is None else io.BytesIO(data), formats=FORMATS)
        with image:
            limit.check(image.width, image.height, len(image.getbands()), file_bytes, str(path))
            if data is not None:
                check_jpeg_scans(data, str(path))
            yield image
    except UnidentifiedImageError as error:
        raise BadItem("not an image: no known format fits the file's first bytes", str(path)) from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError) as error:
        if isinstance(error, BadItem):
            raise
        raise BadItem(f"image cannot be read: {error}", str(path)) from error


def _check_parts(path: Path, data: bytes | None, file_bytes: int) -> None:
    if data is not None:
        check_parts(data, str(path))
    elif file_bytes > UNCOUNTED_BYTES:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            check_parts(content, str(path))


def image_bytes(path: Path, data: bytes | None = None) -> bytes:
    """The content of an image file, `data` where it was read already. Raises `BadItem` where it cannot be read."""
    try:
        return path.read_bytes() if data is None else data
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> BadItem:
    return BadItem(f"image file cannot be read: {error.strerror or error}", str(path))


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """The image, decoded, in a mode of Pillow: itself where it has that mode, of which `convert` makes a second copy.

    Raises:
        OSError, SyntaxError, ValueError: it cannot be decoded.
    """
    if image.mode != mode:
        return image.convert(mode)
    image.load()
    return image


def open_stored(data: bytes) -> Image.Image:
    """A JPEG or PNG as shards store them, held against the bounds of `mmrs.imaging.limits` and not decoded yet.

    Raises:
        BadItem: it is beyond a bound.
        OSError, SyntaxError, ValueError, Image.DecompressionBombError: it is no such image.
    """
    check_parts(data)
    image = Image.open(io.BytesIO(data), formats=FORMATS[:2])
    WHOLE_IMAGE.check(image.width, image.height, len(image.getbands()), len(data))
    check_jpeg_scans(data)
    return image


@contextmanager
def _without_pillow_limit() -> Iterator[None]:
    # Pillow checks its global limit while opening, before our own per-call limit could allow a scene to be tiled.
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _reencode_reason(image: ImageFile, orientation: int) -> str | None:
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
