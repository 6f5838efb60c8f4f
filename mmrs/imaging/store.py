"""Turn an image file into the bytes that a shard stores: unchanged where possible, re-encoded with a reason otherwise.

Decoding for validation doubles as the perceptual hash: one pass over the compressed stream pays for both.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from mmrs.errors import BadItem
from mmrs.imaging.hashing import fingerprint, reduced_size
from mmrs.imaging.probe import ImageProbe, open_image
from mmrs.imaging.windows import read_rendered_windows
from mmrs.record import Sensor, Window
from mmrs.source import BandSelection

Validation = Literal["L0", "L1", "L2"]
_JPEG_QUALITY = 97
_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
# EXIF orientation -> the turn that makes the picture upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


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
) -> StoredImage:
    """The stored form of a whole image file; `probe` was made with the same `selection` of bands.

    Validation: L0 trusts the header that `probe` read and looks for the file's end marker; L1 decodes (JPEG at 1/8
    scale, which still walks the whole entropy-coded stream and finds truncation; PNG has no such scale and is decoded
    fully); L2 decodes every pixel. Re-encoding always decodes fully.

    Raises:
        BadItem: the file cannot be decoded.
    """
    reason = reencode_reason(probe, suffix)
    if reason is None:
        return _pass_through(path, probe, validation)
    pixels, rule = _render(path, probe, sensor, selection) if probe.raster else (_decode_upright(path, probe), None)
    return encode_pixels(pixels, suffix, reason, rule)


def encode_pixels(
    pixels: np.ndarray, suffix: Literal["jpg", "png"], reason: str, rule: dict[str, Any] | None = None
) -> StoredImage:
    """Encode ``(H, W)`` or ``(H, W, 3)`` uint8 pixels. PNG is lossless; JPEG says its quality in the reason."""
    image = Image.fromarray(pixels)
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


def _pass_through(path: Path, probe: ImageProbe, validation: Validation) -> StoredImage:
    data = path.read_bytes()
    perceptual_hash = None
    if validation == "L0":
        _check_end(data, path, probe)
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


def _render(
    path: Path, probe: ImageProbe, sensor: Sensor, selection: BandSelection | None
) -> tuple[np.ndarray, dict[str, Any] | None]:
    whole = Window(x=0, y=0, width=probe.width, height=probe.height)
    ((pixels, rule),) = read_rendered_windows(path, [whole], sensor, selection)
    return np.asarray(_upright(Image.fromarray(pixels), probe)), rule


def _upright(image: Image.Image, probe: ImageProbe) -> Image.Image:
    turn = _TURNS.get(probe.orientation)
    return image if turn is None else image.transpose(turn)


def _decode_upright(path: Path, probe: ImageProbe) -> np.ndarray:
    with open_image(path) as image:
        upright = _upright(image, probe)
        if upright.mode in ("L", "RGB"):
            return np.asarray(upright)
        if upright.mode in ("1", "LA", "La"):
            return np.asarray(upright.convert("L"))
        if upright.mode in ("P", "PA", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"):
            return np.asarray(upright.convert("RGB"))
        raise BadItem(f"image mode {upright.mode} has no rendering rule", str(path))
