"""Small copies of stored images, for pages."""

from __future__ import annotations

import io

from PIL import Image

from mmrs.imaging.probe import in_mode, open_stored

_SIDE_PIXELS = 512
_JPEG_QUALITY = 82


def thumbnail(image: bytes, side_pixels: int = _SIDE_PIXELS) -> bytes:
    """A JPEG of at most so many pixels a side, for a page. Raises ValueError when the image cannot be decoded."""
    try:
        with open_stored(image) as picture:
            picture.draft("RGB" if picture.mode == "RGB" else "L", (side_pixels, side_pixels))
            small = in_mode(picture, "L" if picture.mode == "L" else "RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"the image cannot be decoded: {error}") from error
    small.thumbnail((side_pixels, side_pixels), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()
