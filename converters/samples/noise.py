"""Seeded noise for painted images: made once, then cropped, so that one image costs no random numbers per pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

Rng = np.random.Generator
Plane = npt.NDArray[np.float32]


@dataclass(frozen=True)
class NoisePool:
    """`smooth` ``(K, H, W)`` and `grain` ``(K, H, W)`` float32: cloudy and per-pixel noise, mean 0, deviation 1."""

    smooth: Plane
    grain: Plane

    def crop(self, rng: Rng, height: int, width: int) -> tuple[Plane, Plane]:
        """A random part of a smooth and of a grain plane, each ``(height, width)``, flipped at random."""
        return _crop(self.smooth, rng, height, width), _crop(self.grain, rng, height, width)


def make_pool(rng: Rng, height: int, width: int, planes: int = 6, cells: int = 6) -> NoisePool:
    """A pool of `planes` planes of ``(height, width)``; the smooth noise has about `cells` clouds per side."""
    smooth = np.stack([_clouds(rng, height, width, cells) for _ in range(planes)])
    grain = rng.standard_normal((planes, height, width), dtype=np.float32)
    return NoisePool(smooth, grain)


def _clouds(rng: Rng, height: int, width: int, cells: int) -> Plane:
    total = np.zeros((height, width), dtype=np.float32)
    for octave in range(3):
        side = cells * 2**octave
        coarse = Image.fromarray(rng.standard_normal((side, side), dtype=np.float32))
        total += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) / 2**octave
    return (total - total.mean()) / total.std()


def _crop(planes: Plane, rng: Rng, height: int, width: int) -> Plane:
    count, full_height, full_width = planes.shape
    y = rng.integers(full_height - height + 1)
    x = rng.integers(full_width - width + 1)
    part = planes[rng.integers(count), y : y + height, x : x + width]
    return part[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]
