"""Small copies of stored images, for pages."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image

from mmrs.imaging.probe import in_mode, open_stored

_SIDE_PIXELS = 512
_JPEG_QUALITY = 82
_GAP_PIXELS = 8


def thumbnail(image: bytes, side_pixels: int = _SIDE_PIXELS) -> bytes:
    """A JPEG of at most so many pixels a side, for a page. Raises ValueError when the image cannot be decoded."""
    try:
        with open_stored(image) as picture:
            picture.draft("RGB" if picture.mode == "RGB" else "L", (side_pixels, side_pixels))
            small = in_mode(picture, "L" if picture.mode == "L" else "RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"the image cannot be decoded: {error}") from error
    small.thumbnail((side_pixels, side_pixels), Image.Resampling.LANCZOS)
    return _jpeg(small)


def side_by_side(images: Sequence[bytes], side_pixels: int = _SIDE_PIXELS) -> bytes:
    """The thumbnail of an image; of several, theirs beside each other with a gap between. Raises as `thumbnail`."""
    if len(images) == 1:
        return thumbnail(images[0], side_pixels)
    small = [open_stored(thumbnail(image, side_pixels)) for image in images]
    width = sum(picture.width for picture in small) + _GAP_PIXELS * (len(small) - 1)
    sheet = Image.new("RGB", (width, max(picture.height for picture in small)), "white")
    left = 0
    for picture in small:
        sheet.paste(picture, (left, 0))
        left += picture.width + _GAP_PIXELS
    return _jpeg(sheet)


def _jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()
