"""Exact percentiles of pixels that are seen block by block: memory does not grow with the image.

A radix selection: values are mapped to unsigned keys of the same order, the upper 16 bits of the keys are counted in
one pass and, for 32-bit types, the lower 16 bits of the few bins that hold a wanted rank in a second one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

PixelBlocks = Callable[[], Iterable[npt.NDArray[Any]]]
_BINS = 1 << 16


@dataclass(frozen=True, slots=True)
class Percentile:
    """A percentile between two neighbouring values: `below` + `share` (`above` - `below`), as numpy defines it."""

    below: float
    above: float
    share: float

    def value(self, scale: Callable[[float], float] = float) -> float:
        """The percentile after a monotone `scale` of the values."""
        below, above = scale(self.below), scale(self.above)
        return below + self.share * (above - below)


def percentiles(blocks: PixelBlocks, wanted: Sequence[float]) -> tuple[Percentile, ...]:
    """The `wanted` percentiles (0..100) of all values, in the given order; empty where there is no value.

    Args:
        blocks: gives the blocks anew at each call, each 1-D, all of one type out of uint8, uint16, int16, uint32, int32
            and float32; NaN is not allowed.
    """
    heads, kind = _count(blocks)
    total = int(heads.sum())
    if total == 0 or kind is None:
        return ()
    places = [share / 100 * (total - 1) for share in wanted]
    ranks = sorted({rank for place in places for rank in (math.floor(place), math.ceil(place))})
    ends = np.cumsum(heads)
    bins = {rank: int(np.searchsorted(ends, rank, side="right")) for rank in ranks}
    keys = bins if kind.itemsize <= 2 else _refine(blocks, bins, ends - heads)
    values = {rank: _value(key, kind) for rank, key in keys.items()}
    return tuple(
        Percentile(values[math.floor(place)], values[math.ceil(place)], place - math.floor(place)) for place in places
    )


def _count(blocks: PixelBlocks) -> tuple[npt.NDArray[np.int64], np.dtype[Any] | None]:
    counts = np.zeros(_BINS, dtype=np.int64)
    kind = None
    for values in blocks():
        kind = values.dtype
        keys = _keys(values)
        counts += np.bincount(keys if keys.itemsize <= 2 else keys >> 16, minlength=_BINS)
    return counts, kind


def _refine(blocks: PixelBlocks, bins: dict[int, int], starts: npt.NDArray[np.int64]) -> dict[int, int]:
    tails = {head: np.zeros(_BINS, dtype=np.int64) for head in bins.values()}
    for values in blocks():
        keys = _keys(values)
        heads = keys >> 16
        for head, counts in tails.items():
            counts += np.bincount(keys[heads == head] & 0xFFFF, minlength=_BINS)
    return {
        rank: head << 16 | int(np.searchsorted(np.cumsum(tails[head]), rank - int(starts[head]), side="right"))
        for rank, head in bins.items()
    }


def _keys(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Unsigned integers in the order of the values."""
    if values.dtype == np.int16:
        return values.view(np.uint16) ^ np.uint16(1 << 15)
    if values.dtype == np.int32:
        return values.view(np.uint32) ^ np.uint32(1 << 31)
    if values.dtype == np.float32:
        bits = values.view(np.uint32)
        # Negative floats grow with falling bits, so all of them turn over; positive ones go above.
        return np.where(bits >> 31, ~bits, bits ^ np.uint32(1 << 31))
    return values


def _value(key: int, kind: np.dtype[Any]) -> float:
    if kind == np.int16:
        return float(key - (1 << 15))
    if kind == np.int32:
        return float(key - (1 << 31))
    if kind == np.float32:
        bits = key ^ (1 << 31) if key >> 31 else ~key & 0xFFFFFFFF
        return float(np.uint32(bits).view(np.float32))
    return float(key)
