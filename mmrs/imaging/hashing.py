"""Perceptual hashes: pictures that look alike have hashes that differ in few bits.

`fingerprint` is for copies that were re-compressed, resized, mirrored or turned: 256 signs of low spatial frequencies
(discrete cosine transform, type II). A mirrored or turned picture has the same frequencies up to sign and
transposition, so the hashes of all 8 variants follow from one (`turned_hashes`). The package `imagehash` has the same
idea for the picture as it is: it would need a transform for each of the 8, and has no hash of the centre.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

HASH_BYTES = 32
HASH_BITS = 8 * HASH_BYTES
FINGERPRINT_BYTES = 2 * HASH_BYTES
FLAT = bytes(FINGERPRINT_BYTES)
# A decoder that may reduce the picture (JPEG at 1/8 scale) must leave this many pixels on each side.
MIN_SIDE = 64
# Sources cut their pictures out of each other's: RSICD shows the central 88 % of AID's (528 of 600 pixels).
CENTRE_SHARE = 0.88
_SIDE = 32
# Below this standard deviation (grey levels, 0..255) the signs are noise.
_FLAT_DEVIATION = 1.0
_ROWS_AT_ONCE = 1 << 16

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class PictureVariant:
    """One of the 8 ways a picture can be mirrored and turned: transposed first, then mirrored.

    Names are true from both sides: either picture is the other one, mirrored or turned so.
    """

    name: str
    transposed: bool
    top_bottom: bool
    left_right: bool

    def apply(self, pixels: npt.NDArray) -> npt.NDArray:
        """``(H, W)`` pixels, turned."""
        turned = pixels.T if self.transposed else pixels
        turned = turned[::-1] if self.top_bottom else turned
        return turned[:, ::-1] if self.left_right else turned


VARIANTS = (
    PictureVariant("same orientation", False, False, False),
    PictureVariant("mirrored left-right", False, False, True),
    PictureVariant("mirrored top-bottom", False, True, False),
    PictureVariant("turned by 180 degrees", False, True, True),
    PictureVariant("mirrored at the main diagonal", True, False, False),
    PictureVariant("turned by 90 degrees", True, False, True),
    PictureVariant("turned by 90 degrees", True, True, False),
    PictureVariant("mirrored at the other diagonal", True, True, True),
)


def reduced_size(width: int, height: int, least_side: int = MIN_SIDE) -> tuple[int, int]:
    """What to ask a JPEG decoder for (`Image.draft`): 1/8 of each side in pixels, but not less than `least_side`."""
    return max(least_side, width // 8), max(least_side, height // 8)


def fingerprint(image: Image.Image) -> bytes:
    """64 bytes: the 32-byte frequency hash of the whole picture, then that of its centre (`CENTRE_SHARE` of each side).

    Hash bit k (byte k // 8, lowest bit first) says whether the k-th frequency has a positive coefficient; low
    frequencies come first. `FLAT` (zeros) where the picture is too flat to be told from others.

    The picture may come from a reduced decode as long as each side has `MIN_SIDE` pixels (or all that it has).
    """
    grey = image if image.mode == "L" else image.convert("L")
    whole = grey_thumbnail(grey, _SIDE)
    if whole.std() < _FLAT_DEVIATION:
        return FLAT
    return _frequency_hash(whole) + _frequency_hash(grey_thumbnail(grey, _SIDE, CENTRE_SHARE))


def grey_thumbnail(grey: Image.Image, side: int, share: float = 1.0) -> npt.NDArray[np.float32]:
    """``(side, side)`` float32 thumbnail, 0..255, of the central `share` of a grey image, whatever its proportions.

    The triangle filter and unrounded values keep it the same for all scales of one picture.
    """
    factor = max(1, min(grey.size) // (4 * side))
    width, height = grey.width / factor, grey.height / factor
    if factor > 1:
        grey = grey.reduce(factor)
    margin_x, margin_y = width * (1 - share) / 2, height * (1 - share) / 2
    box = (margin_x, margin_y, width - margin_x, height - margin_y)
    return np.asarray(grey.convert("F").resize((side, side), Image.Resampling.BILINEAR, box), dtype=np.float32)


def turned_hashes(hashes: Hashes, variant: PictureVariant) -> Hashes:
    """``(N, 4)`` uint64 frequency hashes -> those of the pictures turned as `variant` says."""
    order, signs = _turn(variant)
    turned = np.empty_like(hashes)
    for start in range(0, len(hashes), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        bits = np.unpackbits(np.ascontiguousarray(hashes[part]).view(np.uint8), axis=1, bitorder="little")
        packed = np.packbits(np.take(bits, order, axis=1) ^ signs, axis=1, bitorder="little")
        turned[part] = np.ascontiguousarray(packed).view(np.uint64)
    return turned


def _frequency_hash(thumbnail: npt.NDArray[np.float32]) -> bytes:
    cosines = _cosines()
    vertical, horizontal = _frequencies()
    bits = (cosines @ thumbnail @ cosines.T)[vertical, horizontal] > 0
    return np.packbits(bits, bitorder="little").tobytes()


@cache
def _cosines() -> npt.NDArray[np.float32]:
    pixels = np.arange(_SIDE)
    return np.cos(np.pi * (2 * pixels[None, :] + 1) * pixels[:, None] / (2 * _SIDE)).astype(np.float32)


@cache
def _frequencies() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(vertical, horizontal) of each hash bit: all with a sum of 1..21 and four of 22, closed under transposition."""
    pairs = [(u, total - u) for total in range(1, 22) for u in range(total + 1)]
    pairs += [(9, 13), (10, 12), (12, 10), (13, 9)]
    vertical, horizontal = zip(*pairs, strict=True)
    return np.array(vertical), np.array(horizontal)


@cache
def _turn(variant: PictureVariant) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    vertical, horizontal = _frequencies()
    places = {pair: place for place, pair in enumerate(zip(vertical.tolist(), horizontal.tolist(), strict=True))}
    pairs = zip(vertical.tolist(), horizontal.tolist(), strict=True)
    order = np.array([places[(v, u) if variant.transposed else (u, v)] for u, v in pairs])
    # A mirrored axis changes the sign of its odd frequencies.
    signs = (vertical * variant.top_bottom + horizontal * variant.left_right) % 2
    return order, signs.astype(np.uint8)
