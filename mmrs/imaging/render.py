"""Source pixels -> 8-bit pixels by one documented, monotone rule per sensor and image.

An 8-bit picture is never stretched, so rendering twice changes nothing. Everything else goes through one rule whose
limits hold for the whole file, also where only windows of it are stored:

- the source's own limits (`mmrs.source.BandSelection`) where it states them, equal for all its images;
- SAR, real values with a negative median: they are dB already; -28..+3 dB (cross polarisation: -38..-3);
- SAR, positive real values whose 99.5th percentile is below 10: backscatter; 10 log10 of it, same fixed limits;
- other SAR (amplitude, modulus of complex values): 20 log10 of it, percentiles 0.5 and 99.5;
- infrared: linear, percentiles 1 and 99; optical: linear, percentiles 2 and 98; common to all bands.

Pixels that are NaN, infinite, of the declared nodata value, or 0 in a SAR image (border without data) do not count for
limits and become 0. The rule is returned so that it can be stored and undone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from mmrs.errors import BadItem
from mmrs.imaging.percentiles import Percentile, percentiles

if TYPE_CHECKING:
    from mmrs.record import Sensor
    from mmrs.source import BandSelection

Kind = Literal["linear", "20*log10", "10*log10", "dB"]
PERCENTILES: dict[Sensor, tuple[float, float]] = {"optical": (2.0, 98.0), "infrared": (1.0, 99.0), "sar": (0.5, 99.5)}
# Mean and three standard deviations of Sentinel-1 over land and sea, in dB.
DB_LIMITS = {"co": (-28.0, 3.0), "cross": (-38.0, -3.0)}
BACKSCATTER_BELOW = 10.0
_FLOORS = {"20*log10": 1.0, "10*log10": 1e-10}
# Logarithms differ in the last bits between processors; a fixed number of digits keeps the stored bytes equal.
_DECIBEL_DECIMALS = 6
_CHUNK = 1 << 20


@dataclass(frozen=True)
class RenderRule:
    """Value -> 0..255: ``floor(clip((f(v) - low) / (high - low), 0, 1) * 255 + 0.5)``; equal limits give 0.

    f is the identity for `kind` ``linear`` and ``dB``, else the named logarithm of the value or of its floor (1 for
    ``20*log10``, 1e-10 for ``10*log10``). `low` and `high` are in units of f, `bits` those of a sample of the source.
    `percentiles` is None for fixed limits. `nodata` and, with `zero_is_nodata`, 0 are no values.
    With `min_is_white` the result is 255 minus that.
    """

    kind: Kind
    low: float
    high: float
    bits: int
    percentiles: tuple[float, float] | None = None
    nodata: float | None = None
    zero_is_nodata: bool = False
    bands: tuple[int, ...] | None = None
    min_is_white: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the record, without what does not apply."""
        stated: dict[str, Any] = {"kind": self.kind, "low": self.low, "high": self.high, "bits": self.bits}
        if self.percentiles is not None:
            stated["percentiles"] = list(self.percentiles)
        if self.nodata is not None and math.isfinite(self.nodata):
            stated["nodata"] = self.nodata
        if self.bands is not None:
            stated["bands"] = list(self.bands)
        if self.min_is_white:
            stated["min_is_white"] = True
        return stated

    def apply(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """Plain pixels (`plain`) of any shape -> uint8 of that shape."""
        if pixels.dtype.itemsize == 2:
            table = self._unsigned_table if pixels.dtype == np.uint16 else self._signed_table
            return table[pixels.view(np.uint16)]
        flat = pixels.reshape(-1)
        rendered = np.empty(flat.shape, dtype=np.uint8)
        for start in range(0, flat.size, _CHUNK):
            rendered[start : start + _CHUNK] = self._map(flat[start : start + _CHUNK])
        return rendered.reshape(pixels.shape)

    @cached_property
    def _unsigned_table(self) -> npt.NDArray[np.uint8]:
        return self._map(np.arange(1 << 16, dtype=np.uint16))

    @cached_property
    def _signed_table(self) -> npt.NDArray[np.uint8]:
        return self._map(np.arange(1 << 16, dtype=np.uint16).view(np.int16))

    def _map(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        values, valid = pixels.astype(np.float64), valid_pixels(pixels, self.nodata, self.zero_is_nodata)
        values[~valid] = 1
        span = self.high - self.low
        if span <= 0:
            return np.zeros(pixels.shape, dtype=np.uint8)
        scaled = np.clip((_scaled(values, self.kind) - self.low) / span, 0, 1) * 255
        levels = np.floor(scaled + 0.5)
        return np.where(valid, 255 - levels if self.min_is_white else levels, 0).astype(np.uint8)


def plain(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same values in one of the six types of `mmrs.imaging.raster.read_plain`."""
    if pixels.dtype in (np.uint8, np.uint16, np.int16, np.uint32, np.int32, np.float32):
        return pixels
    if pixels.dtype == np.int8:
        return pixels.astype(np.int16)
    if pixels.dtype.kind == "c":
        return np.abs(pixels).astype(np.float32)
    if pixels.dtype.kind in "uif":
        # Values beyond the range of float32 become infinite, hence invalid, like NaN.
        with np.errstate(over="ignore"):
            return pixels.astype(np.float32)
    raise BadItem(f"pixels of type {pixels.dtype} have no rendering rule")


def valid_pixels(pixels: npt.NDArray[Any], nodata: float | None, zero_is_nodata: bool) -> npt.NDArray[np.bool_]:
    """Which plain pixels are values: finite, not the declared nodata and, where that means no data, not 0."""
    valid = np.isfinite(pixels)
    if nodata is not None:
        valid &= pixels != (np.float32(nodata) if pixels.dtype == np.float32 else nodata)
    if zero_is_nodata:
        valid &= pixels != 0
    return valid


def choose_rule(
    blocks: Callable[[], Iterable[npt.NDArray[Any]]],
    dtype: np.dtype[Any],
    sensor: Sensor,
    selection: BandSelection | None = None,
    nodata: float | None = None,
    cross_polarised: bool = False,
) -> RenderRule:
    """The rule of one image or scene.

    Args:
        blocks: gives all plain pixels anew at each call, block by block; not called where no statistics are needed.
        dtype: type of the source's samples, not uint8.
        sensor: of the image; never guessed from pixels.
        selection: bands and limits that the source states.
        nodata: the value that the file declares for pixels without data.
        cross_polarised: the first stored band is VH or HV (limits of dB).

    Raises:
        BadItem: statistics are needed and no pixel is valid.
    """
    zero_is_nodata = sensor == "sar"
    chosen = None if selection is None else selection.bands
    bits = dtype.itemsize * 8

    def values() -> Iterable[npt.NDArray[Any]]:
        for block in blocks():
            yield block[valid_pixels(block, nodata, zero_is_nodata)]

    linear = sensor != "sar" or (selection is not None and selection.linear)
    fixed = None if selection is None else selection.limits
    known: tuple[Percentile, ...] = ()
    shares = PERCENTILES[sensor]
    if fixed is None or not (linear or dtype.kind in "uc"):
        known = percentiles(values, (0, *shares, 50))
        if not known:
            raise BadItem("image has no valid pixel (all NaN or nodata)")
    kind: Kind = "linear" if linear else _sar_kind(dtype, known)
    common: dict[str, Any] = {"bits": bits, "nodata": nodata, "zero_is_nodata": zero_is_nodata, "bands": chosen}
    if fixed is not None:
        return RenderRule(kind, _scale(fixed[0], kind), _scale(fixed[1], kind), **common)
    if kind in ("dB", "10*log10"):
        return RenderRule(kind, *DB_LIMITS["cross" if cross_polarised else "co"], **common)
    low, high = (limit.value(lambda value: _scale(value, kind)) for limit in known[1:3])
    return RenderRule(kind, low, high, percentiles=shares, **common)


def _sar_kind(dtype: np.dtype[Any], known: tuple[Percentile, ...]) -> Kind:
    if dtype.kind in "uc":
        return "20*log10"
    least, _, high, median = (limit.value() for limit in known)
    if dtype.kind == "f" and median < 0:
        return "dB"
    if least < 0:
        # Signed numbers of an unknown unit have no logarithm.
        return "linear"
    return "10*log10" if dtype.kind == "f" and high < BACKSCATTER_BELOW else "20*log10"


def _scale(value: float, kind: Kind) -> float:
    return float(_scaled(np.array([value], dtype=np.float64), kind)[0])


def _scaled(values: npt.NDArray[np.float64], kind: Kind) -> npt.NDArray[np.float64]:
    if kind not in _FLOORS:
        return values
    factor = 20 if kind == "20*log10" else 10
    return np.round(factor * np.log10(np.maximum(values, _FLOORS[kind])), _DECIBEL_DECIMALS)
