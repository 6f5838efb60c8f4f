"""The order of an epoch: which dialogues form which pack. A pure function of plain values.

Shape legend: R rows (samples), D dialogues, E dialogues that fit a pack, U units, P packs.

A *unit* is one image with dialogues that share its prefix (begin token and visual tokens). An image whose dialogues
exceed a pack is split over several units, and each pays for the prefix. A dialogue that by itself exceeds a pack
or the model's positions is listed in `Plan.excluded`. Every other dialogue is in exactly one pack of the epoch.

Reads stay near-sequential: rows are cut into blocks of neighbours in one tar, blocks are permuted, and rows are
permuted inside windows of blocks.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, insort
from dataclasses import asdict, dataclass

import numpy as np

from mmrs.record import canonical_json

PLAN_FORMAT = "mmrs-plan-1"
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """All that a plan depends on beside the lengths and the epoch.

    `prefix_tokens` is what every unit pays before its first dialogue, visual tokens included; `max_positions` is the
    longest prefix plus dialogue that the language model takes.
    """

    data_set_id: str
    tokenizer_digest: str
    seed: int
    tokens_per_pack: int
    prefix_tokens: int
    max_positions: int
    shuffle_block_samples: int
    shuffle_window_blocks: int
    packing_window_units: int


@dataclass(frozen=True)
class Lengths:
    """Token counts of the selected dialogues: `row`, `tokens`, `targets` (D,); `shard_run` (R,). `row` never falls."""

    row: np.ndarray
    tokens: np.ndarray
    targets: np.ndarray
    shard_run: np.ndarray

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True)
class Plan:
    """Packs of one epoch. Pack p holds units ``pack_start[p]:pack_start[p + 1]``; unit u shows sample ``unit_row[u]``
    with dialogues ``entries[unit_start[u]:unit_stop[u]]`` (positions in the lengths table).

    `pack_tokens` (P,) counts real tokens; `excluded` are dialogues that fit no pack.
    """

    epoch: int
    entries: np.ndarray
    unit_row: np.ndarray
    unit_start: np.ndarray
    unit_stop: np.ndarray
    pack_start: np.ndarray
    pack_tokens: np.ndarray
    excluded: np.ndarray
    digest: str

    def __len__(self) -> int:
        return len(self.pack_tokens)

    def pack(self, number: int) -> list[tuple[int, np.ndarray]]:
        """The units of one pack: (sample row, positions of its dialogues in the lengths table)."""
        units = range(self.pack_start[number], self.pack_start[number + 1])
        return [(int(self.unit_row[u]), self.entries[self.unit_start[u] : self.unit_stop[u]]) for u in units]


def epoch_plan(lengths: Lengths, settings: PlanSettings, epoch: int) -> Plan:
    """Plan one epoch. Equal arguments give equal plans on any machine, for any number of workers or ranks."""
    room = settings.tokens_per_pack - settings.prefix_tokens
    fits = lengths.tokens <= min(room, settings.max_positions - settings.prefix_tokens)
    entries = np.flatnonzero(fits)
    start, stop = _units(lengths.row[entries], lengths.tokens[entries], room)
    row = lengths.row[entries][start].astype(np.int32)
    total = np.concatenate([[0], np.cumsum(lengths.tokens[entries], dtype=np.int64)])
    cost = settings.prefix_tokens + total[stop] - total[start]

    row_rank = block_shuffle(lengths.shard_run, settings, epoch)
    order = np.lexsort((start, row_rank[row]))
    packs: list[list[int]] = []
    for window_start in range(0, len(order), settings.packing_window_units):
        window = order[window_start : window_start + settings.packing_window_units]
        bins = best_fit(cost[window], settings.tokens_per_pack)
        shuffled = permutation(len(bins), settings.data_set_id, settings.seed, epoch, "packs", window_start)
        packs.extend([int(window[unit]) for unit in bins[number]] for number in shuffled)

    placed = np.array([unit for pack in packs for unit in pack], np.int64)
    pack_start = np.cumsum([0] + [len(pack) for pack in packs])
    arrays = {
        "entries": entries.astype(np.int32),
        "unit_row": row[placed],
        "unit_start": start[placed].astype(np.int32),
        "unit_stop": stop[placed].astype(np.int32),
        "pack_start": pack_start.astype(np.int32),
        "pack_tokens": np.diff(np.concatenate([[0], np.cumsum(cost[placed])])[pack_start]).astype(np.int32),
        "excluded": np.flatnonzero(~fits).astype(np.int32),
    }
    return Plan(epoch=epoch, digest=_digest(settings, epoch, arrays), **arrays)


def block_shuffle(shard_run_R: np.ndarray, settings: PlanSettings, epoch: int) -> np.ndarray:
    """Rank (R,) of every row in the epoch's reading order: a permutation of 0..R-1."""
    rows = len(shard_run_R)
    first_of_run = np.concatenate([[True], np.diff(shard_run_R) != 0])[:rows]
    position = np.arange(rows) - np.maximum.accumulate(np.where(first_of_run, np.arange(rows), 0))
    block = np.cumsum(position % settings.shuffle_block_samples == 0) - 1
    key = (settings.data_set_id, settings.seed, epoch)
    block_rank = np.argsort(permutation(int(block[-1]) + 1 if rows else 0, *key, "blocks"))
    window = block_rank[block] // settings.shuffle_window_blocks
    order = np.lexsort((permutation(rows, *key, "rows"), window))
    return np.argsort(order)


def best_fit(sizes: np.ndarray, capacity: int) -> list[list[int]]:
    """Put items, in the given order, into bins of `capacity`: each into the fullest bin that still takes it.

    Longest first would save about one percent of padding more, but it fills packs with units of one length, hence of
    one task; arrival order keeps every pack a fair sample.

    Returns positions in `sizes` per bin. Every size must be at most `capacity`.
    """
    bins: list[list[int]] = []
    by_room: list[tuple[int, int]] = []
    for item, size in enumerate(sizes.tolist()):
        place = bisect_left(by_room, (size, -1))
        if place < len(by_room):
            room, number = by_room.pop(place)
        else:
            room, number = capacity, len(bins)
            bins.append([])
        bins[number].append(item)
        insort(by_room, (room - size, number))
    return bins


def permutation(count: int, *key: str | int) -> np.ndarray:
    """Permutation (count,) of 0..count-1 drawn from the key alone.

    SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) rather than numpy's generators, whose streams may change with numpy.
    """
    state = np.uint64(int.from_bytes(hashlib.sha256("/".join(map(str, key)).encode()).digest()[:8], "little"))
    with np.errstate(over="ignore"):
        z = state + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.argsort(z ^ (z >> np.uint64(31)), kind="stable")


def _units(row_E: np.ndarray, tokens_E: np.ndarray, room: int) -> tuple[np.ndarray, np.ndarray]:
    """Start and stop (U,) of each unit in the fitting dialogues, rows ascending."""
    first = np.flatnonzero(np.diff(row_E, prepend=-1))
    last = np.append(first[1:], len(row_E))
    total = np.concatenate([[0], np.cumsum(tokens_E, dtype=np.int64)])
    too_long = np.flatnonzero(total[last] - total[first] > room)
    cuts = [_cuts(tokens_E[first[i] : last[i]], room) + first[i] for i in too_long]
    start = np.sort(np.concatenate([first, *cuts])).astype(np.int64)
    return start, np.append(start[1:], len(row_E))


def _cuts(tokens: np.ndarray, room: int) -> np.ndarray:
    """Where the dialogues of one image must be cut so that each part has at most `room` tokens."""
    cuts, used = [], 0
    for number, size in enumerate(tokens):
        if used + size > room:
            cuts.append(number)
            used = 0
        used += int(size)
    return np.array(cuts, np.int64)


def _digest(settings: PlanSettings, epoch: int, arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(canonical_json({"format": PLAN_FORMAT, "epoch": epoch, **asdict(settings)}))
    for name, array in sorted(arrays.items()):
        digest.update(name.encode() + array.astype("<i4").tobytes())
    return digest.hexdigest()
