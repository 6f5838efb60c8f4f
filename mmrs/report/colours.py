"""One colour for each class, the same in the report, the viewer and the demo of a data set."""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Iterable

# Okabe and Ito's palette: distinct for colour-blind readers, too.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#8C6D1F", "#555555")
_GOLDEN = 0.618034


class ClassColours(dict[str, str]):
    """Colours by class. One that was not counted has a colour by its name alone, and changes none of the others."""

    def __missing__(self, name: str) -> str:
        return _colour(len(PALETTE) + int.from_bytes(hashlib.sha256(name.encode()).digest()[:3]))


def class_colours(counted: Iterable[str]) -> ClassColours:
    """``#rrggbb`` by name, the same on every page of a data set.

    Args:
        counted: all classes that its indexes count, none where a page is about no data set; the palette goes to the
            first in the alphabet, then hues far from their neighbours'.
    """
    return ClassColours({name: _colour(number) for number, name in enumerate(sorted(set(counted)))})


def _colour(number: int) -> str:
    if number < len(PALETTE):
        return PALETTE[number]
    lightness = (0.42, 0.55, 0.34)[number % 3]
    channels = colorsys.hls_to_rgb(number * _GOLDEN % 1, lightness, 0.72)
    return "#" + "".join(f"{round(channel * 255):02X}" for channel in channels)
