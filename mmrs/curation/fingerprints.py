"""Copies of one picture: proposed by their fingerprints, confirmed by their pixels.

Found: the same picture re-compressed, resized, stretched to other proportions, a little brightened or blurred, mirrored
or turned by multiples of 90 degrees; and a picture that shows the centre of another (88 % of each side). Not found:
other crops, other angles, images with next to no contrast (their identical copies are found by sha256), and now and
then a fine pattern that fills the picture, turned and encoded again: its low frequencies are next to nothing, so their
signs are chance (1 of 400 planted copies; a search that proposed it would propose forty times as many wrong pairs).

Two pictures are called copies when their 64 x 64 grey thumbnails agree as a whole (normalised correlation of at least
`LEAST_CORRELATION`) and in their texture (the median over 8 x 8 cells of at least `LEAST_LOCAL`): two beaches with the
waterline in one place agree as a whole only. Their colours must agree, too, where both have some: grey does not tell a
river from the meadow around it. Measured on 93 genuine aerial, SAR and infrared images: copies down to JPEG quality
30 or 35 % of the size stay above 0.984 and 0.80, and their colours within 0.8 levels on average and 3.1 in places;
frames of a hovering camera, seconds apart, reach 0.99 and 0.99 and count as copies. Among 30,000 painted scenes, those
that look alike in grey differ by 2.4 levels on average, or by 10 in places, or stay below 0.97.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mmrs.curation.image_table import Rows, open_reduced
from mmrs.curation.links import LinkKind, Links, joined, make_links
from mmrs.curation.search import NearPairs, near_pairs
from mmrs.imaging.hashing import CENTRE_SHARE, HASH_BITS, VARIANTS, PictureVariant, grey_thumbnail
from mmrs.shards.several import NumberedShards

LEAST_CORRELATION = 0.97
LEAST_LOCAL = 0.7
# Largest difference of colour (levels of 255, each channel less the mean of the three): of the means, and of the pixels
# (root mean square).
LARGEST_TINT = 2.2
LARGEST_COLOUR_DIFFERENCE = 8.0
_LEAST_COLOUR = 1.0
# A centre is always the same part, so its copy differs in few bits; near ones are other crops of simple shapes.
CENTRE_LIMIT = 24
THUMBNAIL_SIDE = 64
# A JPEG decoded at 1/8 scale clips bright points before they are averaged: SAR copies then fall to 0.9.
_DECODED_SIDE = 4 * THUMBNAIL_SIDE
_CACHED_THUMBNAILS = 8192
_CELLS = 8
# Cells that vary less (grey levels) hold compression noise only; fewer cells than this say nothing.
_LEAST_DEVIATION = 1.0
_LEAST_CELLS = 4

_PHRASES = {
    LinkKind.COPY: "a copy ({how}) of",
    LinkKind.CENTRE: "cut from the same picture ({how}; one shows the centre of the other) as",
}

Thumbnail = npt.NDArray[np.float32]
Load = Callable[[int, float], Thumbnail]


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """Thumbnails of rows for a central share (1.0: whole): `grey` ``(64, 64)``, `colour` ``(3, 64, 64)``, 0..255."""

    grey: Load
    colour: Load


def find_copies(rows: Rows, load: Thumbnails, workers: int = 1) -> Links:
    """Confirmed copies among all rows.

    A pair whose rows are already connected by nearer pairs is not looked at again, so the links of a group form a tree.
    """
    usable = np.flatnonzero(~rows.flat)
    whole, centre = rows.hashes()[usable], rows.hashes(centre=True)[usable]
    connected = _Connected()
    copies = _confirmed(_at(near_pairs(whole, workers=workers), usable), LinkKind.COPY, load, connected)
    near_centres = _at(near_pairs(centre, whole, CENTRE_LIMIT, workers), usable)
    centres = _confirmed(near_centres, LinkKind.CENTRE, load, connected)
    return joined([copies, centres])


def correlation(first: Thumbnail, second: Thumbnail, variant: PictureVariant) -> float:
    """Normalised correlation, -1..1, of `second` with `first` turned; 0 where either has no contrast at all."""
    turned = variant.apply(first)
    a, b = turned - turned.mean(), second - second.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale > 0 else 0.0


def local_correlation(first: Thumbnail, second: Thumbnail, variant: PictureVariant) -> float:
    """Median over the cells of 8 x 8 pixels in which both vary; 1 where there are too few of them to tell."""
    a, b = _cells(variant.apply(first)), _cells(second)
    deviation_a, deviation_b = a.std(axis=1), b.std(axis=1)
    told = np.flatnonzero((deviation_a >= _LEAST_DEVIATION) & (deviation_b >= _LEAST_DEVIATION))
    if len(told) < _LEAST_CELLS:
        return 1.0
    return float(np.median((a * b).mean(axis=1)[told] / (deviation_a * deviation_b)[told]))


def are_copies(first: Thumbnail, second: Thumbnail, variant: PictureVariant) -> bool:
    """Whether `second` shows the picture `first`, turned as `variant` says."""
    if correlation(first, second, variant) < LEAST_CORRELATION:
        return False
    return local_correlation(first, second, variant) >= LEAST_LOCAL


def same_colours(first: Thumbnail, second: Thumbnail, variant: PictureVariant) -> bool:
    """Whether two ``(3, 64, 64)`` thumbnails, the first turned as `variant` says, have the same colours.

    A grey one has those of any other: sources publish grey versions of coloured pictures.
    """
    turned = np.stack([variant.apply(channel) for channel in first])
    one, other = turned - turned.mean(axis=0), second - second.mean(axis=0)
    if min(float(np.abs(one).max()), float(np.abs(other).max())) < _LEAST_COLOUR:
        return True
    difference = one - other
    tint = float(np.abs(difference.mean(axis=(1, 2))).max())
    return tint <= LARGEST_TINT and float(np.sqrt((difference**2).mean())) <= LARGEST_COLOUR_DIFFERENCE


def _cells(thumbnail: Thumbnail) -> Thumbnail:
    """``(cells, pixels)``, each cell less its mean."""
    size = len(thumbnail) // _CELLS
    cells = thumbnail.reshape(_CELLS, size, _CELLS, size).transpose(0, 2, 1, 3).reshape(_CELLS * _CELLS, -1)
    return cells - cells.mean(axis=1, keepdims=True)


def stored_thumbnails(shards: NumberedShards, rows: Rows) -> Thumbnails:
    """Thumbnails of stored images."""
    return thumbnails_of(lambda row: rows.image(shards, row), rows.ids)


def thumbnails_of(read: Callable[[int], bytes], names: Sequence[str]) -> Thumbnails:
    """Thumbnails of images by row; the last few thousand grey ones are kept in memory (130 MB), few need colours."""

    @lru_cache(maxsize=_CACHED_THUMBNAILS)
    def grey(row: int, share: float) -> Thumbnail:
        return grey_thumbnail(open_reduced(read(row), "L", _DECODED_SIDE, names[row]), THUMBNAIL_SIDE, share)

    def colour(row: int, share: float) -> Thumbnail:
        image = open_reduced(read(row), "RGB", _DECODED_SIDE, names[row])
        return np.stack([grey_thumbnail(channel, THUMBNAIL_SIDE, share) for channel in image.split()])

    return Thumbnails(grey, colour)


def _at(pairs: NearPairs, places: npt.NDArray[np.int64]) -> NearPairs:
    return NearPairs(places[pairs.first], places[pairs.second], pairs.variant, pairs.distance)


def _confirmed(pairs: NearPairs, kind: LinkKind, load: Thumbnails, connected: _Connected) -> Links:
    share = CENTRE_SHARE if kind is LinkKind.CENTRE else 1.0
    first, second, reasons = [], [], []
    columns = (pairs.first, pairs.second, pairs.variant, pairs.distance)
    for one, other, number, distance in zip(*(column.tolist() for column in columns), strict=True):
        if connected.root(one) == connected.root(other):
            continue
        thumbnails = load.grey(one, share), load.grey(other, 1.0)
        if not are_copies(*thumbnails, VARIANTS[number]):
            continue
        value = correlation(*thumbnails, VARIANTS[number])
        if not same_colours(load.colour(one, share), load.colour(other, 1.0), VARIANTS[number]):
            continue
        connected.join(one, other)
        first.append(one)
        second.append(other)
        how = f"{VARIANTS[number].name}, {distance} of {HASH_BITS} bits differ, correlation {value:.3f}"
        reasons.append(_PHRASES[kind].format(how=how))
    return make_links(kind, first, second, reasons)


class _Connected:
    """Which rows are already connected (union by path halving); only rows that were named take memory."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}

    def root(self, row: int) -> int:
        parent = self._parent
        while (above := parent.get(row, row)) != row:
            parent[row] = parent.get(above, above)
            row = above
        return row

    def join(self, first: int, second: int) -> None:
        self._parent[self.root(first)] = self.root(second)
