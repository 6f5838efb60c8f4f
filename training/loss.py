"""Token cross-entropy at the target positions of a pack.

Shape legend: L tokens per pack, N images, T targets, D width, K vocabulary.
"""

from __future__ import annotations

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from training.data.collate import Pack
from training.model.masks import build_block_mask
from training.model.modeling import EarthGPTForConditionalGeneration

TARGETS_PER_CHUNK = 2048


def target_losses(model: EarthGPTForConditionalGeneration, pack: Pack) -> torch.Tensor:
    """Cross-entropy in nats of each target token of a pack, (T,) fp32.

    The head runs on the target positions alone, in chunks whose logits are computed again in the backward pass, so the
    (L, K) logits of the pack never exist.
    """
    mask_11LL = build_block_mask(pack.image_segment_L[None], pack.dialogue_segment_L[None])
    states_1LD = model.hidden_states(
        input_ids=pack.input_ids_L[None],
        pixel_values=pack.pixel_values_NCHW if len(pack.pixel_values_NCHW) else None,
        attention_mask=mask_11LL,
        position_ids=pack.position_ids_L[None],
    )
    states_TD = states_1LD[0].index_select(0, pack.target_positions_T)
    if pack.targets <= TARGETS_PER_CHUNK:
        return _chunk_losses(model.lm_head, states_TD, pack.target_ids_T)
    chunks = zip(states_TD.split(TARGETS_PER_CHUNK), pack.target_ids_T.split(TARGETS_PER_CHUNK), strict=True)
    return torch.cat(
        [checkpoint(_chunk_losses, model.lm_head, states, ids, use_reentrant=False) for states, ids in chunks]
    )


def _chunk_losses(head: torch.nn.Module, states_TD: torch.Tensor, ids_T: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(head(states_TD).float(), ids_T, reduction="none")
