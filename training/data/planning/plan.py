"""The order of an epoch: which dialogues form which pack. A pure function of plain values.

Shape legend: R rows (samples), D dialogues, E dialogues of the epoch, V rows of the epoch, U units, P packs.

A *unit* is one image, or all images of a sample that has several, with dialogues that share its prefix (begin token and
visual tokens). A sample whose dialogues exceed a pack is split over several units, and each pays for the prefix. A
dialogue that by itself exceeds a pack or the model's positions is listed in `Plan.excluded`. Every other dialogue is in
exactly one pack of the epoch, or in as many as the mixture says (`training.data.planning.mixture`); the second time, it
is with another copy of its image.

Reads stay near-sequential: rows are cut into blocks of neighbours in one tar, blocks are permuted, and rows are
permuted inside windows of blocks.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, insort
from dataclasses import asdict, dataclass

import numpy as np

from mmrs.record import canonical_json
from mmrs.seeding import permutation
from mmrs.shards.shuffle import block_shuffle
from training.data.planning.mixture import copies_of_epoch, parse_mixture

PLAN_FORMAT = "mmrs-plan-2"
_NUMBER_BITS = 32


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """All that a plan depends on beside the lengths and the epoch.

    `prefix_tokens` is what every unit pays before its first dialogue, visual tokens included; `max_positions` is the
    longest prefix plus dialogue that the language model takes; `mixture` has the passes per epoch of each group of
    dialogues (`mixture_text`), empty where all are seen once.
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
    mixture: str = ""


@dataclass(frozen=True)
class Lengths:
    """Token counts of the selected dialogues: `row`, `tokens`, `targets` (D,); `shard_run` (R,). `row` never falls.

    `group` (D,) numbers the groups of the mixture; None where there is one group. `further` (R,) are the tokens of the
    prefix that are those of images after the first; None where no sample has any.
    """

    row: np.ndarray
    tokens: np.ndarray
    targets: np.ndarray
    shard_run: np.ndarray
    group: np.ndarray | None = None
    further: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.row)

    def further_of(self, rows: np.ndarray) -> np.ndarray:
        """Tokens of images after the first of these rows."""
        return np.zeros(len(rows), np.int64) if self.further is None else self.further[rows].astype(np.int64)


@dataclass(frozen=True)
class Plan:
    """Packs of one epoch. Pack p holds units ``pack_start[p]:pack_start[p + 1]``; unit u shows sample ``unit_row[u]``
    with dialogues ``entries[unit_start[u]:unit_stop[u]]`` (positions in the lengths table).

    `unit_copy` (U,) counts how often the epoch has shown the sample before, 0 for the first time; `pack_tokens` (P,)
    counts real tokens; `excluded` are dialogues that fit no pack.
    """

    epoch: int
    entries: np.ndarray
    unit_row: np.ndarray
    unit_copy: np.ndarray
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
    with_further_D = lengths.tokens + lengths.further_of(lengths.row)
    fits = with_further_D <= min(room, settings.max_positions - settings.prefix_tokens)
    entries, copy = _entries_of_epoch(lengths, np.flatnonzero(fits), settings, epoch)
    image = np.cumsum((np.diff(lengths.row[entries], prepend=-1) != 0) | (np.diff(copy, prepend=0) != 0)) - 1
    start, stop = _units(image, lengths.tokens[entries], room - lengths.further_of(lengths.row[entries]))
    row, copy_U = lengths.row[entries[start]], copy[start]
    total = np.concatenate([[0], np.cumsum(lengths.tokens[entries], dtype=np.int64)])
    cost = settings.prefix_tokens + lengths.further_of(row) + total[stop] - total[start]

    first = np.flatnonzero(np.diff(image, prepend=-1))
    runs = lengths.shard_run[lengths.row[entries[first]]] + copy[first] * (len(lengths.shard_run) + 1)
    key = (settings.data_set_id, settings.seed, epoch)
    image_rank = block_shuffle(runs, key, settings.shuffle_block_samples, settings.shuffle_window_blocks)
    order = np.lexsort((start, image_rank[image[start]]))
    pack = np.zeros(len(order), np.int64)
    packs = 0
    for window_start in range(0, len(order), settings.packing_window_units):
        window = slice(window_start, window_start + settings.packing_window_units)
        bins = best_fit(cost[order[window]], settings.tokens_per_pack)
        count = int(bins.max()) + 1
        shuffled = permutation(count, settings.data_set_id, settings.seed, epoch, "packs", window_start)
        pack[window] = packs + np.argsort(shuffled)[bins]
        packs += count

    placed = order[np.argsort(pack, kind="stable")]
    pack_start = np.concatenate([[0], np.cumsum(np.bincount(pack, minlength=packs))])
    arrays = {
        "entries": entries.astype(np.int32),
        "unit_row": row[placed].astype(np.int32),
        "unit_copy": copy_U[placed].astype(np.int32),
        "unit_start": start[placed].astype(np.int32),
        "unit_stop": stop[placed].astype(np.int32),
        "pack_start": pack_start.astype(np.int32),
        "pack_tokens": np.diff(np.concatenate([[0], np.cumsum(cost[placed])])[pack_start]).astype(np.int32),
        "excluded": np.flatnonzero(~fits).astype(np.int32),
    }
    return Plan(epoch=epoch, digest=_digest(settings, epoch, arrays), **arrays)


def _entries_of_epoch(
    lengths: Lengths, fitting: np.ndarray, settings: PlanSettings, epoch: int
) -> tuple[np.ndarray, np.ndarray]:
    """The epoch's dialogues (E,) among the fitting ones and which copy each is, ordered by copy, row, dialogue."""
    if lengths.group is None or not settings.mixture:
        return fitting, np.zeros(len(fitting), np.int64)
    passes = parse_mixture(settings.mixture)
    item_key = lengths.row[fitting].astype(np.int64) * len(passes) + lengths.group[fitting]
    items, item = np.unique(item_key, return_inverse=True)
    copies = copies_of_epoch(items % len(passes), passes, (settings.data_set_id, settings.seed), epoch)[item]
    entries = np.repeat(fitting, copies)
    copy = np.arange(len(entries)) - np.repeat(np.cumsum(copies) - copies, copies)
    order = np.argsort(copy, kind="stable")
    return entries[order], copy[order]


def best_fit(sizes: np.ndarray, capacity: int) -> np.ndarray:
    """Put items, in the given order, into bins of `capacity`: each into the fullest bin that still takes it.

    Longest first would save about one percent of padding more, but it fills packs with units of one length, hence of
    one task; arrival order keeps every pack a fair sample.

    Returns the bin of each item, bins numbered by their first item. Every size must be at most `capacity`.
    """
    smallest = int(sizes.min(initial=capacity))
    bins = 0
    bin_of = []
    # Sorted (room left, bin number) pairs as one integer each, which are twice as fast as tuples.
    by_room: list[int] = []
    for size in sizes.tolist():
        place = bisect_left(by_room, size << _NUMBER_BITS)
        if place < len(by_room):
            key = by_room.pop(place)
        else:
            key = capacity << _NUMBER_BITS | bins
            bins += 1
        bin_of.append(key & (1 << _NUMBER_BITS) - 1)
        key -= size << _NUMBER_BITS
        if key >> _NUMBER_BITS >= smallest:
            insort(by_room, key)
    return np.array(bin_of, np.int64)


def _units(image_E: np.ndarray, tokens_E: np.ndarray, room_E: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start and stop (U,) of each unit in the epoch's dialogues, images ascending; `room_E` is that of its sample."""
    first = np.flatnonzero(np.diff(image_E, prepend=-1))
    last = np.append(first[1:], len(image_E))
    total = np.concatenate([[0], np.cumsum(tokens_E, dtype=np.int64)])
    too_long = np.flatnonzero(total[last] - total[first] > room_E[first])
    cuts = [_cuts(tokens_E[first[i] : last[i]], int(room_E[first[i]])) + first[i] for i in too_long]
    start = np.sort(np.concatenate([first, *cuts])).astype(np.int64)
    return start, np.append(start[1:], len(image_E))


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
