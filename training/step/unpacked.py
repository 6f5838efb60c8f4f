"""A pack as batches of short rows: the same tokens and losses without the pack's L x L attention.

CPUs have no block-sparse attention: in one packed row every token is compared with all L positions of the pack, though
the mask leaves it those of its own image alone. A row is either one image with all of its dialogues, or one dialogue
behind a copy of its image's prefix, which then needs no mask but the causal one. The first pays where prefixes are
long, the second where dialogues are. Rows of similar length share a batch, so that little of it is padding.

Shape legend: L tokens per pack, R rows of a batch, S tokens of its longest row, T targets of a batch, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from training.data.collate import Pack
from training.model.configuration import EarthGPTConfig
from training.model.masks import PADDING, PREFIX

# An operation of attention on a CPU takes about as long as three of a matrix product.
ATTENTION_SLOWNESS = 3
# What calling the language model once more costs, in tokens through its linear layers.
TOKENS_PER_CALL = 64

Span = tuple[int, int]


@dataclass(frozen=True)
class RowBatch:
    """Rows of one batch (R, S).

    `images_N` numbers the images of the rows that show one, in their order. `target_positions_T` says where in the
    flattened rows the targets `targets_T` (numbers among the pack's targets) are predicted. With `causal` every row is
    one dialogue: causal attention is all that it needs, for padding comes last.
    """

    input_ids_RS: torch.Tensor
    position_ids_RS: torch.Tensor
    image_segment_RS: torch.Tensor
    dialogue_segment_RS: torch.Tensor
    images_N: torch.Tensor
    target_positions_T: torch.Tensor
    targets_T: torch.Tensor
    causal: bool


@dataclass(frozen=True)
class _Cost:
    """What a batch costs, in operations of a matrix product per layer, forward."""

    per_token: float
    per_pair: float

    def batch(self, rows: int, longest: int, causal: bool) -> float:
        pairs = longest / 2 if causal else longest
        return (rows * longest + TOKENS_PER_CALL) * self.per_token + rows * longest * pairs * self.per_pair


def row_batches(pack: Pack, config: EarthGPTConfig) -> list[RowBatch] | None:
    """The cheapest rows for a pack by their number of operations; None where the pack as it is costs least."""
    units = _units(pack)
    if not units:
        return None
    cost = _cost(config)
    images = [[(unit[0][0], unit[-1][1])] for unit in units]
    dialogues = [[unit[0], dialogue] for unit in units for dialogue in unit[1:]]
    choices = [(*_cheapest(rows, cost, causal), causal) for rows, causal in ((images, False), (dialogues, True))]
    total, batches, causal = min(choices, key=lambda choice: choice[0])
    if total >= cost.batch(1, len(pack.input_ids_L), causal=False):
        return None
    shown = _image_numbers(pack, units, config)
    return [_batch(pack, batch, shown, config.text.pad_token_id or 0, causal) for batch in batches]


def _units(pack: Pack) -> list[list[Span]]:
    """For every image the spans of its prefix and of each of its dialogues."""
    image_L, dialogue_L = pack.image_segment_L.numpy(), pack.dialogue_segment_L.numpy()
    real = int((image_L != PADDING).sum())
    changed = (np.diff(image_L[:real]) != 0) | (np.diff(dialogue_L[:real]) != 0)
    edges = [0, *(np.flatnonzero(changed) + 1).tolist(), real] if real else []
    units: list[list[Span]] = []
    for start, stop in pairwise(edges):
        if dialogue_L[start] == PREFIX:
            units.append([])
        units[-1].append((start, stop))
    return units


def _image_numbers(pack: Pack, units: list[list[Span]], config: EarthGPTConfig) -> dict[int, range]:
    """Numbers of the images that each unit shows, by the position where it starts; none for a unit of text alone."""
    is_slot_L = pack.input_ids_L.numpy() == config.image_token_id
    images, first = {}, 0
    for prefix, *_ in units:
        count = int(is_slot_L[prefix[0] : prefix[1]].sum()) // config.image_slots
        images[prefix[0]] = range(first, first + count)
        first += count
    return images


def _cost(config: EarthGPTConfig) -> _Cost:
    per_token, per_pair = config.decoder_kind.block_costs(config.text)
    return _Cost(per_token, ATTENTION_SLOWNESS * per_pair)


def _cheapest(rows: Sequence[list[Span]], cost: _Cost, causal: bool) -> tuple[float, list[list[list[Span]]]]:
    """The partition of rows, ordered by length, into batches of least total cost."""
    ordered = sorted(rows, key=_length)
    lengths = [_length(row) for row in ordered]
    best: list[tuple[float, int]] = [(0.0, 0)]
    for stop, longest in enumerate(lengths, start=1):
        best.append(min((best[start][0] + cost.batch(stop - start, longest, causal), start) for start in range(stop)))
    batches, stop = [], len(ordered)
    while stop:
        start = best[stop][1]
        batches.append(ordered[start:stop])
        stop = start
    return best[-1][0], batches


def _length(row: list[Span]) -> int:
    return sum(stop - start for start, stop in row)


def _batch(pack: Pack, rows: list[list[Span]], images: dict[int, range], pad_id: int, causal: bool) -> RowBatch:
    longest = max(_length(row) for row in rows)
    source_RS = np.full((len(rows), longest), -1)
    for number, row in enumerate(rows):
        source_RS[number, : _length(row)] = np.concatenate([np.arange(start, stop) for start, stop in row])
    # A target is predicted by a token of its own dialogue, which is in one row; a prefix may be in several.
    place_L = np.full(len(pack.input_ids_L), -1)
    flat = source_RS.ravel()
    place_L[flat[flat >= 0]] = np.flatnonzero(flat >= 0)
    target_place = place_L[pack.target_positions_T.numpy()]
    inside_RS, source = torch.from_numpy(source_RS >= 0), torch.from_numpy(source_RS.clip(0))
    targets_T = torch.from_numpy(np.flatnonzero(target_place >= 0))
    shown = [number for start in source_RS[:, 0].tolist() for number in images[start]]

    def take(values_L: torch.Tensor, filler: int) -> torch.Tensor:
        return torch.where(inside_RS, values_L[source], filler)

    return RowBatch(
        input_ids_RS=take(pack.input_ids_L, pad_id),
        position_ids_RS=take(pack.position_ids_L, 0),
        image_segment_RS=take(pack.image_segment_L, PADDING),
        dialogue_segment_RS=take(pack.dialogue_segment_L, PREFIX),
        images_N=torch.tensor(shown, dtype=torch.int64),
        target_positions_T=torch.from_numpy(target_place)[targets_T],
        targets_T=targets_T,
        causal=causal,
    )
