"""A whole image rendered in memory at once: what the windows of the data core are compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mmrs.imaging.render import choose_rule, plain
from mmrs.record import Sensor
from mmrs.source import BandSelection


def render_to_8bit(
    pixels: npt.NDArray[Any], sensor: Sensor, selection: BandSelection | None = None
) -> tuple[npt.NDArray[np.uint8], dict[str, Any] | None]:
    """Map all pixels of an image, ``(H, W)`` or ``(H, W, 3)`` of any numeric type, to uint8 of the same shape.

    Returns:
        The 8-bit pixels and the rule (`RenderRule.to_dict`), None for 8-bit input.

    Raises:
        BadItem: no valid pixel at all, or pixels that are no numbers.
    """
    if pixels.dtype == np.uint8:
        return pixels, None
    values = plain(pixels)
    rule = choose_rule(lambda: [values.reshape(-1)], pixels.dtype, sensor, selection)
    return rule.apply(values), rule.to_dict()
