"""One colour for each class, the same wherever a page shows it."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable

# Okabe and Ito's palette: distinct for colour-blind readers, too.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#8C6D1F", "#555555")
_GOLDEN = 0.618034


def class_colours(names: Iterable[str]) -> dict[str, str]:
    """``#rrggbb`` by name: the palette for the first classes in the alphabet, then hues far from their neighbours'."""
    return {name: _colour(number) for number, name in enumerate(sorted(set(names)))}


def _colour(number: int) -> str:
    if number < len(PALETTE):
        return PALETTE[number]
    lightness = (0.42, 0.55, 0.34)[number % 3]
    channels = colorsys.hls_to_rgb(number * _GOLDEN % 1, lightness, 0.72)
    return "#" + "".join(f"{round(channel * 255):02X}" for channel in channels)
