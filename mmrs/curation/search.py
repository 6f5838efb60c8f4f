"""All near pairs among many frequency hashes, without comparing all pairs.

A hash is cut into 16 bands of 16 bits. Two hashes that differ in at most 15 bits agree in at least one whole band
(pigeonhole: 15 differences cannot touch 16 bands), so hashes are bucketed by each band in turn and only members of one
bucket are compared. The search is therefore complete up to `EXACT_BITS` = 15 differing bits. Pairs with up to `limit`
bits that share a band are reported too; as bands hold rising frequencies and the low ones hardly ever change in a copy,
few of those are missed.

Memory is a few arrays of N numbers and, for each process, one block of `_CANDIDATES` candidate pairs (about 130 MB),
whatever the buckets; time grows with the pairs that share a bucket, about 16 * 8 * N^2 / 2 / 65,536 for evenly spread
hashes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from mmrs.curation.links import Index
from mmrs.engines.processes import run_tasks
from mmrs.imaging.hashing import HASH_BITS, VARIANTS, Hashes, turned_hashes

_BANDS = 16
EXACT_BITS = _BANDS - 1
DEFAULT_LIMIT = 32
_BUCKETS = 1 << (HASH_BITS // _BANDS)
_CANDIDATES = 1 << 21
_ROWS_WORTH_A_PROCESS = 50_000


@dataclass(frozen=True, slots=True)
class NearPairs:
    """Pairs of rows whose hashes are near, sorted by distance.

    `second` looks like `first` turned as ``VARIANTS[variant]``. All arrays have one entry per pair; `distance` is in
    bits.
    """

    first: Index
    second: Index
    variant: npt.NDArray[np.uint8]
    distance: npt.NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.first)


def near_pairs(hashes: Hashes, others: Hashes | None = None, limit: int = DEFAULT_LIMIT, workers: int = 1) -> NearPairs:
    """Near pairs of rows of `hashes` ``(N, 4)`` uint64 under all 8 variants, each with its nearest variant.

    Rows with equal hashes are near in any case and are reported as pairs with the first of them; all other pairs name
    the first row of each hash, so that 10,000 equal hashes do not become 50 million pairs. `first` < `second`.

    With `others` ``(M, 4)`` the pairs are (row of `hashes`, row of `others`), any order, again by their first rows.
    `workers` processes share the variants; small searches stay in this one. The result is the same for any number.

    Raises:
        ValueError: `limit` is below `EXACT_BITS`, or the hashes are not ``(N, 4)`` uint64.
    """
    if limit < EXACT_BITS:
        raise ValueError(f"limit {limit} is below the {EXACT_BITS} bits up to which the search is complete")
    unique, rows, pairs = _collapsed(hashes)
    found = [pairs] if others is None else []
    targets, target_rows = (unique, rows) if others is None else _collapsed(others)[:2]
    search = partial(_search_variant, unique, targets, limit, others is None)
    processes = workers if max(len(unique), len(targets)) >= _ROWS_WORTH_A_PROCESS else 1
    for number, (first, second, distance) in sorted(run_tasks(search, range(len(VARIANTS)), processes)):
        found.append(NearPairs(rows[first], target_rows[second], np.full(len(first), number, np.uint8), distance))
    return _nearest(found)


def _search_variant(
    hashes: Hashes, targets: Hashes, limit: int, same: bool, number: int
) -> tuple[Index, Index, npt.NDArray[np.uint16]]:
    return _join(turned_hashes(hashes, VARIANTS[number]), targets, limit, same)


def bit_distance(first: Hashes, second: Hashes) -> npt.NDArray[np.uint16]:
    """Number of differing bits of ``(..., W)`` uint64 rows."""
    return _bit_counts(first ^ second).sum(axis=-1, dtype=np.uint16)


def _bit_counts(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(words)
    bits = np.unpackbits(np.ascontiguousarray(words)[..., None].view(np.uint8), axis=-1)
    return bits.sum(axis=-1, dtype=np.uint8)


def _collapsed(hashes: Hashes) -> tuple[Hashes, Index, NearPairs]:
    """Distinct hashes, the first row of each, and the pairs (first row, later row) of equal ones."""
    if hashes.ndim != 2 or hashes.shape[1] != HASH_BITS // 64 or hashes.dtype != np.uint64:
        raise ValueError(f"hashes must be (N, {HASH_BITS // 64}) uint64, found {hashes.shape} {hashes.dtype}")
    keys = np.ascontiguousarray(hashes).view(f"V{HASH_BITS // 8}").ravel()
    _, rows, inverse = np.unique(keys, return_index=True, return_inverse=True)
    # Distinct hashes in order of their first row: which row stands for the others then depends on the input alone.
    firsts = rows[inverse.ravel()]
    later = np.flatnonzero(firsts != np.arange(len(hashes)))
    equal = NearPairs(firsts[later], later, np.zeros(len(later), np.uint8), np.zeros(len(later), np.uint16))
    rows = np.sort(rows)
    return hashes[rows], rows, equal


def _join(first: Hashes, second: Hashes, limit: int, same: bool) -> tuple[Index, Index, npt.NDArray[np.uint16]]:
    """Pairs (i, j) that share a band and differ in at most `limit` bits; with `same` only those with i < j.

    One half is enough there: what i turned by a variant is to j, j turned back is to i, and all 8 are searched.
    """
    found: list[tuple[Index, Index, npt.NDArray[np.uint16]]] = []
    first_bands, second_bands = _bands(first), _bands(second)
    for band in range(_BANDS):
        one, other = _Buckets.of(first, first_bands[:, band]), _Buckets.of(second, second_bands[:, band])
        for i, j in _close(one, other, limit, same):
            distance = bit_distance(first[i], second[j])
            near = distance <= limit
            found.append((i[near], j[near], distance[near]))
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint16)
    i, j, distance = (np.concatenate(parts) for parts in zip(*found, strict=True))
    _, once = np.unique(i * np.int64(len(second)) + j, return_index=True)
    return i[once], j[once], distance[once]


def _bands(hashes: Hashes) -> npt.NDArray[np.uint16]:
    return np.ascontiguousarray(hashes).view(np.uint16)


@dataclass(frozen=True, slots=True)
class _Buckets:
    """Hashes in the order of one band, and of their rows where that is equal, so that partners lie side by side.

    In the order of rows, each half of a candidate pair would come from memory instead of from a cache.

    `rows` and `keys` (the band) are ``(N,)``; `words` are the first half of each hash, `starts` where each key begins.
    """

    rows: Index
    keys: npt.NDArray[np.uint16]
    words: tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]
    starts: Index

    @classmethod
    def of(cls, hashes: Hashes, keys: npt.NDArray[np.uint16]) -> _Buckets:
        rows = np.argsort(keys, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=_BUCKETS))])
        return cls(rows, keys[rows], (hashes[rows, 0], hashes[rows, 1]), starts)

    @property
    def places(self) -> Index:
        """Rising numbers of (key, row)."""
        return self.keys.astype(np.int64) * (len(self.rows) + 1) + self.rows


def _close(one: _Buckets, other: _Buckets, limit: int, same: bool) -> Iterator[tuple[Index, Index]]:
    """Blocks of the pairs of rows (i, j) with equal keys whose first halves differ in at most `limit` bits, and i < j
    where `same`. Half of each hash tells nearly all strangers, at half the cost."""
    low, high = other.starts[one.keys], other.starts[one.keys.astype(np.int64) + 1]
    if same:
        # Rows of a bucket are in rising order, so those above i are its tail.
        low = np.searchsorted(other.places, one.places, "right")
    ends = np.concatenate([[0], np.cumsum(high - low)])
    begin = 0
    while begin < len(low):
        end = max(begin + 1, int(np.searchsorted(ends, ends[begin] + _CANDIDATES, "right")) - 1)
        # More than one part only where a single row has more partners than a block holds.
        for skipped in range(0, int(ends[end] - ends[begin]), _CANDIDATES):
            lows = low[begin:end] + skipped
            counts = np.minimum(high[begin:end] - lows, _CANDIDATES)
            yield from _block(one, other, begin, lows, counts, limit)
        begin = end


def _block(
    one: _Buckets, other: _Buckets, begin: int, lows: Index, counts: Index, limit: int
) -> Iterator[tuple[Index, Index]]:
    # Each row beside its partners, which follow each other: place k of the block is partner k - (before) of its row.
    partners = np.arange(int(counts.sum())) + np.repeat(lows - (np.cumsum(counts) - counts), counts)
    distance = np.zeros(len(partners), np.uint8)
    for mine, theirs in zip(one.words, other.words, strict=True):
        distance += _bit_counts(np.repeat(mine[begin : begin + len(counts)], counts) ^ theirs[partners])
    close = np.flatnonzero(distance <= limit)
    if len(close):
        rows = begin + np.searchsorted(np.cumsum(counts), close, "right")
        yield one.rows[rows], other.rows[partners[close]]


def _nearest(found: list[NearPairs]) -> NearPairs:
    """Each pair once, with its nearest variant (the earliest among equals), sorted by distance, then rows."""
    first, second, variant, distance = (
        np.concatenate([getattr(part, name) for part in found]) for name in ("first", "second", "variant", "distance")
    )
    order = np.lexsort((variant, distance, second, first))
    first, second, variant, distance = first[order], second[order], variant[order], distance[order]
    new = np.ones(len(first), bool)
    new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    first, second, variant, distance = first[new], second[new], variant[new], distance[new]
    order = np.lexsort((second, first, distance))
    return NearPairs(first[order], second[order], variant[order], distance[order])
