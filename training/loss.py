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
from training.rows import unit_rows

TARGETS_PER_CHUNK = 2048


def target_losses(model: EarthGPTForConditionalGeneration, pack: Pack) -> torch.Tensor:
    """Cross-entropy in nats of each target token of a pack, (T,) fp32.

    The head runs on the target positions alone, in chunks whose logits are computed again in the backward pass, so the
    (L, K) logits of the pack never exist.
    """
    states_TD = _target_states(model, pack)
    if pack.targets <= TARGETS_PER_CHUNK:
        return _chunk_losses(model.lm_head, states_TD, pack.target_ids_T)
    chunks = zip(states_TD.split(TARGETS_PER_CHUNK), pack.target_ids_T.split(TARGETS_PER_CHUNK), strict=True)
    return torch.cat(
        [checkpoint(_chunk_losses, model.lm_head, states, ids, use_reentrant=False) for states, ids in chunks]
    )


def _target_states(model: EarthGPTForConditionalGeneration, pack: Pack) -> torch.Tensor:
    """Final hidden states (T, D) at the positions that predict the targets."""
    pixels_NCHW = pack.pixel_values_NCHW if len(pack.pixel_values_NCHW) else None
    rows = unit_rows(pack, model.config.text_config.pad_token_id) if pack.input_ids_L.device.type == "cpu" else None
    if rows is not None:
        states_USD = model.hidden_states(
            input_ids=rows.input_ids_US,
            pixel_values=pixels_NCHW,
            attention_mask=build_block_mask(rows.image_segment_US, rows.dialogue_segment_US),
            position_ids=rows.position_ids_US,
        )
        return states_USD.flatten(0, 1).index_select(0, rows.target_positions_T)
    states_1LD = model.hidden_states(
        input_ids=pack.input_ids_L[None],
        pixel_values=pixels_NCHW,
        attention_mask=build_block_mask(pack.image_segment_L[None], pack.dialogue_segment_L[None]),
        position_ids=pack.position_ids_L[None],
    )
    return states_1LD[0].index_select(0, pack.target_positions_T)


def _chunk_losses(head: torch.nn.Module, states_TD: torch.Tensor, ids_T: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(head(states_TD).float(), ids_T, reduction="none")
