"""Images of strangers: the bytes of a ``data:`` address, or of a file, become a decoded picture within bounds.

Nothing is fetched or opened here; see `training.serving.api.remote_images`.

Everything that a header states is held against the bounds before a pixel is decoded.
"""

from __future__ import annotations

import base64
import binascii
import io
import warnings

from PIL import Image

from mmrs.errors import BadItem
from mmrs.imaging.limits import SizeLimit, check_jpeg_scans
from training.model.inputs.pictures import as_picture

_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")
MOST_SENT_BYTES = 20 * 2**20
MOST_PIXELS = 64_000_000
_MOST_SIDE = 20_000
_LIMIT = SizeLimit(MOST_PIXELS, 2**29)


class BadImage(ValueError):
    """An image that is not taken, and why."""


def file_of(address: object) -> bytes:
    """The bytes that a ``data:image/...;base64,`` address holds. Raises BadImage where it is none, or too long."""
    if not isinstance(address, str) or not address.startswith("data:"):
        raise BadImage("an image must be a data: address, data:image/png;base64,...")
    head, comma, body = address.partition(",")
    if not comma or not head.endswith(";base64"):
        raise BadImage("a data: address must be of the form data:image/png;base64,...")
    if len(body) > MOST_SENT_BYTES * 4 // 3 + 4:
        raise BadImage(f"an image may have {MOST_SENT_BYTES:,} bytes")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise BadImage(f"an image is no base64: {error}") from error


def decode_picture(content: bytes, most_pixels: int = MOST_PIXELS) -> Image.Image:
    """The picture of a file's bytes, of mode L or RGB and upright.

    Args:
        content: of the file.
        most_pixels: of this picture.

    Raises:
        BadImage: another format, too large, or damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                if max(image.size) > _MOST_SIDE:
                    raise BadImage(
                        f"an image has {image.width} x {image.height} pixels; a side may have {_MOST_SIDE:,}"
                    )
                if image.width * image.height > most_pixels:
                    raise BadImage(
                        f"an image has {image.width} x {image.height} pixels; those of a request may have "
                        f"{MOST_PIXELS:,} together"
                    )
                if getattr(image, "n_frames", 1) > 1:
                    raise BadImage("an image has several frames; send one")
                _LIMIT.check(image.width, image.height, max(1, len(image.getbands())) * 4, len(content))
                if image.format == "JPEG":
                    check_jpeg_scans(content)
                return as_picture(image)
    except BadImage:
        raise
    # Whatever a damaged file makes a decoder raise; its own fault is told and nothing else.
    except (
        OSError,
        ValueError,
        SyntaxError,
        TypeError,
        ArithmeticError,
        LookupError,
        BadItem,
        Image.DecompressionBombError,
    ) as error:
        raise BadImage(f"an image cannot be read: {' '.join(str(error).split())[:200]}") from error
