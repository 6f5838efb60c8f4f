"""Any picture as the builder would have stored it: upright, 8 bits, grey or RGB.

What has 8 bits a channel keeps its values: a palette and other colour spaces become RGB, and alpha is dropped. All else
are measurements (16 bits, floats, SAR), which `mmrs.imaging.render` renders by one rule for each sensor.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from mmrs.errors import BadItem
from mmrs.imaging.render import PERCENTILES, choose_rule, plain
from mmrs.imaging.upright import upright

SENSORS = tuple(PERCENTILES)
_MEASURED_MODES = ("I", "F")
_CHANNELS = (1, 3, 4)
# Of others Pillow calls programs.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "JPEG2000")


def as_picture(image: Any, sensor: str = "optical") -> Image.Image:
    """A picture of mode L or RGB.

    Args:
        image: a PIL image of any mode; an array or tensor (H, W), (H, W, C) or (C, H, W) with 1, 3 or 4 channels, the
            last axis tried first; or the path of a file that Pillow reads. An address is refused: nothing is fetched.
            Floats are measurements, not shares of white.
        sensor: "optical", "sar" or "infrared": the rule for what has more than 8 bits.

    Raises:
        ValueError: none of these, another shape, a sensor that is not known, or a picture without any valid pixel.
        OSError: no such file, or none that Pillow decodes.
    """
    if sensor not in SENSORS:
        raise ValueError(f"sensor is {sensor!r}; set one of {', '.join(map(repr, SENSORS))}")
    if isinstance(image, str | os.PathLike):
        return _opened(image, sensor)
    if isinstance(image, Image.Image):
        return _of_pil(image, sensor)
    if isinstance(image, torch.Tensor):
        image = image.detach().cpu()
        # numpy has no bfloat16.
        image = (image.float() if image.is_floating_point() else image).numpy()
    if isinstance(image, np.ndarray):
        return Image.fromarray(_eight_bits(_channels_last(image), sensor))
    raise ValueError(f"an image is a {type(image).__name__}; pass a PIL image, an array, a tensor or a path")


def _opened(path: str | os.PathLike[str], sensor: str) -> Image.Image:
    text = os.fspath(path)
    if "://" in text or text.startswith("data:"):
        raise ValueError(f"{text[:80]!r} is an address, and nothing is fetched; download it and pass the file's path")
    with Image.open(Path(path), formats=_FORMATS) as image:
        return _of_pil(image, sensor)


def _of_pil(image: Image.Image, sensor: str) -> Image.Image:
    turned = upright(image)
    if turned.mode in _MEASURED_MODES or turned.mode.startswith("I;"):
        return Image.fromarray(_eight_bits(np.asarray(turned), sensor))
    if turned.mode in ("L", "RGB"):
        return turned
    if turned.mode in ("1", "LA", "La"):
        return turned.convert("LA" if turned.mode == "La" else turned.mode).convert("L")
    if turned.mode == "RGBa":
        turned = turned.convert("RGBA")
    return turned.convert("RGB")


def _channels_last(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(H, W), or (H, W, 3) without alpha."""
    shape = pixels.shape
    if pixels.ndim == 3 and shape[-1] not in _CHANNELS and shape[0] in _CHANNELS:
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if pixels.size == 0 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[-1] in _CHANNELS)):
        raise ValueError(f"an image has the shape {shape}; pass (H, W), (H, W, C) or (C, H, W) with C 1, 3 or 4")
    return pixels if pixels.ndim == 2 else pixels[..., :3]


def _eight_bits(pixels: npt.NDArray[Any], sensor: Any) -> npt.NDArray[np.uint8]:
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * 255
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    try:
        # Other byte orders than the machine's have no rule of their own.
        values = plain(pixels.astype(pixels.dtype.newbyteorder("="), copy=False))
        rule = choose_rule(lambda: [values], pixels.dtype, sensor)
    except BadItem as error:
        raise ValueError(str(error)) from error
    return rule.apply(np.ascontiguousarray(values))
