"""A 64-bit difference hash: pictures that look alike have hashes that differ in few bits."""

from __future__ import annotations

import numpy as np
from PIL import Image


def difference_hash(image: Image.Image) -> int:
    """64 bits, row by row: is a pixel of the 9 x 8 grey thumbnail brighter than its right neighbour?

    Box reduction to the thumbnail makes the hash nearly independent of the decode scale.
    """
    grey = image if image.mode == "L" else image.convert("L")
    thumbnail = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    bits = thumbnail[:, :-1] > thumbnail[:, 1:]
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
