"""A pack as a batch with one image per row: the same tokens and masks without the pack's L x L attention.

CPUs have no block-sparse attention: in one packed row every token is compared with all L positions of the pack, though
the mask leaves it those of its own image alone.

Shape legend: L tokens per pack, U images (units), S tokens of the longest unit, T targets, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from training.data.collate import Pack
from training.model.masks import PADDING, PREFIX

# More padding than this share of the pack costs the linear layers more than attention saves.
MAX_EXTRA_TOKENS = 0.25


@dataclass(frozen=True)
class Rows:
    """Tensors (U, S) of a pack's units, and where in the flattened rows the targets are predicted (T,)."""

    input_ids_US: torch.Tensor
    position_ids_US: torch.Tensor
    image_segment_US: torch.Tensor
    dialogue_segment_US: torch.Tensor
    target_positions_T: torch.Tensor


def unit_rows(pack: Pack, pad_id: int) -> Rows | None:
    """The pack's units as rows, in order; None where the rows would hold too much padding, or there is no unit."""
    segment_L = pack.image_segment_L
    units = int(segment_L.max()) + 1
    if units < 1:
        return None
    length_U = torch.bincount(segment_L[segment_L != PADDING], minlength=units)
    longest = int(length_U.max())
    if units * longest > (1 + MAX_EXTRA_TOKENS) * len(segment_L):
        return None
    start_U = length_U.cumsum(0) - length_U
    offset_S = torch.arange(longest, device=segment_L.device)
    inside_US = offset_S < length_U[:, None]
    source_US = torch.where(inside_US, start_U[:, None] + offset_S, 0)

    def take(values_L: torch.Tensor, filler: int) -> torch.Tensor:
        return torch.where(inside_US, values_L[source_US], filler)

    unit_T = segment_L[pack.target_positions_T]
    return Rows(
        input_ids_US=take(pack.input_ids_L, pad_id),
        position_ids_US=take(pack.position_ids_L, 0),
        image_segment_US=take(segment_L, PADDING),
        dialogue_segment_US=take(pack.dialogue_segment_L, PREFIX),
        target_positions_T=unit_T * longest + pack.target_positions_T - start_U[unit_T],
    )
