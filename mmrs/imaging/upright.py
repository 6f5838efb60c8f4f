"""A decoded picture, turned as its EXIF says. Needs nothing but Pillow: published models carry this file."""

from __future__ import annotations

from PIL import Image, ImageOps

ORIENTATION_TAG = 0x0112
UPRIGHT = 1


def valid_orientation(value: object) -> int:
    """The orientation that a tag states; 1 where it states none."""
    return value if isinstance(value, int) and 1 <= value <= 8 else UPRIGHT


def upright(image: Image.Image) -> Image.Image:
    """A decoded picture as the builder stores it: turned upright, without the tag; itself where nothing turns it.

    Raises:
        OSError: the picture cannot be decoded.
    """
    # Decoding turns TIFFs, and finds the EXIF that stands behind a PNG's pixels.
    image.load()
    if valid_orientation(image.getexif().get(ORIENTATION_TAG)) == UPRIGHT:
        return image
    return ImageOps.exif_transpose(image)
