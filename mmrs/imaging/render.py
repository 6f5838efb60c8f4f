"""Source pixels -> 8-bit pixels by one documented, monotone rule per sensor.

An 8-bit picture is never stretched, so rendering twice changes nothing. More than 8 bits are stretched between two
percentiles of the valid pixels of the whole image, common to all bands; SAR amplitude goes through 20 log10 first.
The rule, its limits in source units and the bits of the source are returned so that they can be stored and undone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mmrs.errors import BadItem
from mmrs.record import Sensor

_PERCENTILES: dict[Sensor, tuple[float, float]] = {"optical": (2.0, 98.0), "infrared": (1.0, 99.0), "sar": (0.5, 99.5)}


def render_to_8bit(pixels: npt.NDArray[Any], sensor: Sensor) -> tuple[npt.NDArray[np.uint8], dict[str, Any] | None]:
    """Map ``(H, W)`` or ``(H, W, 3)`` pixels of any real type to uint8 of the same shape.

    Pixels that are NaN, or 0 in a SAR image (border without data), do not count for the limits and become 0.

    Returns:
        The 8-bit pixels and the rule (None for 8-bit input): kind, low, high (source units or dB), bits.

    Raises:
        BadItem: complex pixels, or no valid pixel at all.
    """
    if pixels.dtype == np.uint8:
        return pixels, None
    if pixels.dtype.kind not in "uif":
        raise BadItem(f"pixels of type {pixels.dtype} have no rendering rule")
    values = pixels.astype(np.float64)
    valid = np.isfinite(values)
    kind = "linear"
    if sensor == "sar":
        valid &= values != 0
        if valid.any() and values[valid].min() >= 0:
            kind = "20*log10"
            values = 20 * np.log10(np.maximum(values, 1))
    if not valid.any():
        raise BadItem("image has no valid pixel (all NaN or nodata)")
    low, high = (float(limit) for limit in np.percentile(values[valid], _PERCENTILES[sensor]))
    span = high - low
    # Half up, as the stored rule says; an image of one value becomes 0 rather than a division by zero.
    scaled = np.floor(np.clip((values - low) / span, 0, 1) * 255 + 0.5) if span > 0 else np.zeros_like(values)
    rule = {
        "kind": kind,
        "low": low,
        "high": high,
        "percentiles": list(_PERCENTILES[sensor]),
        "bits": pixels.dtype.itemsize * 8,
    }
    return np.where(valid, scaled, 0).astype(np.uint8), rule
