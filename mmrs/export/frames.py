"""Pixels to the whole numbers that families of models write, and the smallest angle box of a quad.

All functions are vectorised over the objects of many images: points ``(N, K, 2)`` in pixels of the stored images.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from mmrs.geometry import Array, as_quads


class ImageFrame:
    """Sizes of the stored images of N points or boxes, and the most pixels that their model is shown.

    Args:
        sizes: width and height ``(N, 2)``, or ``(1, 2)`` where all are of one image.
        max_pixels: Qwen2.5-VL alone asks for it.
    """

    def __init__(self, sizes: npt.ArrayLike, max_pixels: int = 12_845_056):
        self.sizes = np.asarray(sizes, dtype=np.float64).reshape(-1, 2)
        self.max_pixels = max_pixels

    def clipped(self, points: npt.ArrayLike) -> Array:
        """Points ``(N, K, 2)`` moved to the image's border where they lie outside."""
        return np.minimum(np.maximum(np.asarray(points, dtype=np.float64), 0), self.sizes[:, None])

    def fractions(self, points: npt.ArrayLike) -> Array:
        """Points ``(N, K, 2)`` as fractions of width and height, each axis by itself."""
        return np.asarray(points, dtype=np.float64) / self.sizes[:, None]


def rounded_bins(points: npt.ArrayLike, image: ImageFrame, last: int) -> list[list[int]]:
    """``(N, K, 2)`` -> N rows of 2 K whole numbers from 0 to `last`: the nearest ones, clipped to the image."""
    fractions = image.fractions(image.clipped(points))
    return np.rint(fractions * last).astype(int).reshape(len(fractions), -1).tolist()


def floored_bins(points: npt.ArrayLike, image: ImageFrame, bins: int) -> list[list[int]]:
    """``(N, K, 2)`` -> N rows of 2 K numbers of the bins that the points fall in, from 0 to ``bins - 1``."""
    fractions = image.fractions(image.clipped(points))
    return np.clip(np.floor(fractions * bins), 0, bins - 1).astype(int).reshape(len(fractions), -1).tolist()


def angle_boxes(quads: npt.ArrayLike) -> Array:
    """``(N, 4, 2)``, clockwise on screen -> ``(N, 5)`` unrotated x1, y1, x2, y2, and degrees in whole numbers.

    The box is turned about its centre, counter-clockwise on screen, by 0 to 89 degrees. A quad that is no rectangle has
    the mean of each pair of opposite edges.
    """
    quads = as_quads(quads)
    across = (quads[:, 1] - quads[:, 0] + quads[:, 2] - quads[:, 3]) / 2
    down = (quads[:, 3] - quads[:, 0] + quads[:, 2] - quads[:, 1]) / 2
    sides = np.stack([np.hypot(*across.T), np.hypot(*down.T)], axis=-1)
    degrees = np.rint(np.degrees(np.arctan2(-across[:, 1], across[:, 0]))) % 180
    turned = degrees >= 90
    sides[turned] = sides[turned][:, ::-1]
    centres = quads.mean(axis=1)
    return np.concatenate([centres - sides / 2, centres + sides / 2, (degrees % 90)[:, None]], axis=1)


def resized_for_qwen(
    width: int, height: int, max_pixels: int, factor: int = 28, min_pixels: int = 3_136
) -> tuple[int, int]:
    """(width, height) to which Qwen2.5-VL resizes an image: ``smart_resize`` of its processor, sides in steps of 28.

    Written here because transformers is no dependency of an export; a test compares the two.
    """
    wide, high = (max(factor, round(side / factor) * factor) for side in (width, height))
    if wide * high > max_pixels:
        shrink = math.sqrt(width * height / max_pixels)
        wide, high = (max(factor, math.floor(side / shrink / factor) * factor) for side in (width, height))
    elif wide * high < min_pixels:
        grow = math.sqrt(min_pixels / (width * height))
        wide, high = (math.ceil(side * grow / factor) * factor for side in (width, height))
    return wide, high
