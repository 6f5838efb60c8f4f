"""Turn an image file into the bytes that a shard stores: unchanged where possible, re-encoded with a reason otherwise.

Decoding for validation doubles as the perceptual hash: one pass over the compressed stream pays for both.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.ImageFile import ImageFile

from mmrs.errors import BadItem
from mmrs.imaging.hashing import fingerprint, reduced_size
from mmrs.imaging.limits import check_jpeg_scans
from mmrs.imaging.orientation import turn_of
from mmrs.imaging.probe import ImageProbe, image_bytes, open_image, open_small_tiff
from mmrs.imaging.raster import UnreadableScene
from mmrs.imaging.windows import read_rendered_windows
from mmrs.record import Sensor, Window
from mmrs.source import BandSelection

Validation = Literal["L0", "L1", "L2"]
_JPEG_QUALITY = 97
_JPEG_SIDE = 65_500
_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


@dataclass(frozen=True, slots=True)
class StoredImage:
    """What a shard stores of an image. `perceptual_hash` is its 64-byte fingerprint, None where L0 decodes nothing."""

    data: bytes
    width: int
    height: int
    mode: Literal["L", "RGB"]
    reencoded: str | None
    render: dict[str, Any] | None
    perceptual_hash: bytes | None


@dataclass(frozen=True, slots=True)
class UprightPicture:
    """uint8 pixels ``(H, W)`` or ``(H, W, 3)``; `render` is the rule where more than 8 bits were rendered.

    `remark` continues the reason for which the image is encoded anew.
    """

    pixels: npt.NDArray[np.uint8]
    render: dict[str, Any] | None = None
    remark: str = ""


def reencode_reason(probe: ImageProbe, suffix: Literal["jpg", "png"]) -> str | None:
    """Why a whole image is stored in other bytes than the file's, None where it passes through."""
    if probe.suffix == suffix:
        return None
    return probe.reencode or f"{probe.suffix} among {suffix} images of one source"


def store_file(
    path: Path,
    probe: ImageProbe,
    suffix: Literal["jpg", "png"],
    sensor: Sensor,
    validation: Validation,
    selection: BandSelection | None = None,
    data: bytes | None = None,
) -> StoredImage:
    """The stored form of a whole image file; `probe` was made with the same `selection` of bands.

    `data` is the file's content where it was read already; `path` then only names it.

    Validation: L0 trusts the header that `probe` read and looks for the file's end marker; L1 decodes (JPEG at 1/8
    scale, which still walks the whole entropy-coded stream and finds truncation; PNG has no such scale and is decoded
    fully); L2 decodes every pixel. Re-encoding always decodes fully.

    Raises:
        BadItem: the file cannot be decoded.
    """
    reason = reencode_reason(probe, suffix)
    if reason is None:
        return _pass_through(path, probe, validation, data)
    picture = read_upright(path, probe, sensor, selection, data)
    return encode_pixels(picture.pixels, suffix, reason + picture.remark, picture.render)


def read_upright(
    path: Path, probe: ImageProbe, sensor: Sensor, selection: BandSelection | None = None, data: bytes | None = None
) -> UprightPicture:
    """Decode a whole image: turned upright, colours resolved, rendered to 8 bits. The only way from a file to pixels.

    `data` is the file's content where it was read already.

    Raises:
        BadItem: the file cannot be decoded.
    """
    turn = turn_of(probe.orientation)
    if not probe.raster and probe.format != "TIFF":
        with open_image(path, data=image_bytes(path, data)) as image:
            return UprightPicture(turn.pixels(_eight_bit(image, path)))
    if not probe.raster:
        with open_small_tiff(path, BadItem("rasterio refused its header"), data=data) as image:
            return UprightPicture(turn.pixels(_eight_bit(image, path)))
    width, height = probe.upright_size
    whole = Window(x=0, y=0, width=width, height=height)
    try:
        ((pixels, rule),) = read_rendered_windows(path, [whole], sensor, selection, probe.orientation, data)
    except UnreadableScene as error:
        if probe.format != "TIFF" or selection is not None:
            raise
        with open_small_tiff(path, error, data=data) as image:
            return UprightPicture(turn.pixels(_eight_bit(image, path)), remark=", read by Pillow")
    return UprightPicture(pixels, rule)


def encode_pixels(
    pixels: np.ndarray, suffix: Literal["jpg", "png"], reason: str, rule: dict[str, Any] | None = None
) -> StoredImage:
    """Encode ``(H, W)`` or ``(H, W, 3)`` uint8 pixels. PNG is lossless; JPEG says its quality in the reason.

    Raises:
        BadItem: a side is too long for a JPEG.
    """
    image = Image.fromarray(pixels)
    if suffix == "jpg" and max(image.size) > _JPEG_SIDE:
        raise BadItem(
            f"image of {image.width} x {image.height} pixels is to be stored as JPEG, like most of its split; "
            f"a side of a JPEG has at most {_JPEG_SIDE} pixels"
        )
    buffer = io.BytesIO()
    if suffix == "jpg":
        image.save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
        reason += f"; JPEG quality {_JPEG_QUALITY}"
    else:
        # Level 1 of zlib costs a third of the default's time for a few per cent more bytes.
        image.save(buffer, "PNG", compress_level=1)
    return StoredImage(
        data=buffer.getvalue(),
        width=image.width,
        height=image.height,
        mode="L" if pixels.ndim == 2 else "RGB",
        reencoded=reason,
        render=rule,
        perceptual_hash=fingerprint(image),
    )


def _pass_through(path: Path, probe: ImageProbe, validation: Validation, content: bytes | None) -> StoredImage:
    data = image_bytes(path, content)
    perceptual_hash = None
    if validation == "L0":
        _check_end(data, path, probe)
        check_jpeg_scans(data, str(path))
    else:
        with open_image(path, data=data) as image:
            if validation == "L1":
                image.draft("L", reduced_size(*image.size))
            image.load()
            perceptual_hash = fingerprint(image)
    mode: Literal["L", "RGB"] = "L" if probe.mode == "L" else "RGB"
    return StoredImage(data, probe.width, probe.height, mode, None, None, perceptual_hash)


def _check_end(data: bytes, path: Path, probe: ImageProbe) -> None:
    png = probe.format == "PNG"
    if data.endswith(_PNG_END if png else _JPEG_END):
        return
    # Bytes may follow the end. A truncated JPEG has no end marker behind its last scan: its codes escape every 0xFF.
    if not (_PNG_END in data if png else data.rfind(_JPEG_END) > data.rfind(_JPEG_SCAN)):
        raise BadItem(f"image is cut off: {probe.format} of {len(data)} bytes without its end marker", str(path))


def _eight_bit(image: ImageFile, path: Path) -> npt.NDArray[np.uint8]:
    """The pixels as Pillow decodes them, grey or RGB."""
    if image.mode in ("L", "RGB"):
        return np.asarray(image)
    if image.mode in ("1", "LA", "La"):
        return np.asarray(image.convert("L"))
    if image.mode in ("P", "PA", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"):
        return np.asarray(image.convert("RGB"))
    raise BadItem(f"image mode {image.mode} has no rendering rule", str(path))
