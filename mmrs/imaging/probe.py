"""What an image file's header says, and whether its bytes can be stored unchanged. No pixel is decoded here."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import BmpImagePlugin, GifImagePlugin, Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from mmrs.errors import BadItem

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


@dataclass(frozen=True, slots=True)
class ImageProbe:
    """Header facts. `width` and `height` in pixels as stored, before any EXIF rotation.

    `reencode` says why the file's bytes cannot be stored as they are, None where they can.
    """

    width: int
    height: int
    format: str
    mode: str
    file_bytes: int
    mtime_ns: int
    orientation: int
    reencode: str | None

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


def probe(path: Path, max_pixels: int = MAX_PIXELS) -> ImageProbe:
    """Read the header of an image file.

    Raises:
        BadItem: missing, empty, unknown or damaged header, or more than `max_pixels` pixels.
    """
    with open_image(path, max_pixels) as image:
        orientation = _orientation(image)
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


@contextmanager
def open_image(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """Open an image without decoding it; every fault of the file becomes `BadItem`."""
    try:
        if not path.is_file():
            raise BadItem("image file not found", str(path))
        if path.stat().st_size == 0:
            raise BadItem("image file is empty (0 bytes)", str(path))
        with warnings.catch_warnings(), _without_pillow_limit():
            warnings.simplefilter("ignore")
            image = Image.open(path, formats=FORMATS)
        with image:
            pixels = image.width * image.height
            if pixels > max_pixels:
                raise BadItem(f"image has {pixels:,} pixels, more than the limit of {max_pixels:,}", str(path))
            yield image
    except UnidentifiedImageError as error:
        raise BadItem("not an image: no known format fits the file's first bytes", str(path)) from error
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
    value = image.getexif().get(_ORIENTATION_TAG, 1)
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
