"""Token cross-entropy at the target positions of a pack.

Shape legend: L tokens per pack, N images, T targets, D width, K vocabulary.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from training.data.collate import Pack
from training.model.modeling.generation import EarthGPTForConditionalGeneration
from training.step.attention import SPARSE, pack_mask
from training.step.last_block import last_block_at
from training.step.objective.coordinates import CoordinateTargets
from training.step.unpacked import RowBatch, row_batches

# 2048 targets of a vocabulary of 32,000 are 0.26 GB of fp32 logits.
LOGITS_PER_CHUNK = 2048 * 32_000


class PackLosses(nn.Module):
    """The model and its loss as one module, whose forward is all that a step computes of a pack.

    Sharding gathers and frees weights around a module's forward, so nothing of the model may be used outside of it.

    Args:
        anchored: let every image-side parameter that trains have a gradient, of zeros where a pack has no image. Ranks
            whose weights are sharded reduce their gradients together and would else wait for each other for ever.
    """

    def __init__(self, model: EarthGPTForConditionalGeneration, anchored: bool = False):
        super().__init__()
        self.model = model
        self.anchored = anchored

    def forward(self, pack: Pack, coordinates: CoordinateTargets | None = None) -> torch.Tensor:
        """`target_losses` of a pack, (T,) fp32."""
        # Ranks that share weights must call each layer equally often, so all of them take packs as they are.
        losses_T = target_losses(self.model, pack, False if self.anchored else None, coordinates=coordinates)
        if self.anchored and torch.is_grad_enabled() and not len(pack.pixel_values_NCHW):
            image_side = [*self.model.vision.parameters(), *self.model.projector.parameters()]
            anchors = [parameter.flatten()[:1].sum() * 0 for parameter in image_side if parameter.requires_grad]
            losses_T = losses_T + sum(anchors)
        return losses_T


def target_losses(
    model: EarthGPTForConditionalGeneration,
    pack: Pack,
    in_rows: bool | None = None,
    features_NSD: torch.Tensor | None = None,
    coordinates: CoordinateTargets | None = None,
) -> torch.Tensor:
    """Cross-entropy in nats of each target token of a pack, (T,) fp32.

    The head runs on the target positions alone, in chunks whose logits are computed again in the backward pass, so the
    (L, K) logits of the pack never exist and memory does not grow with the number of targets.

    Args:
        in_rows: let `training.step.unpacked` cut the pack into rows where that costs less; by default on a CPU with
            dense masks.
        features_NSD: what `get_image_features` made of the pack's images, where that is known; N at least 1.
        coordinates: whose gradients are those of spread targets; the values stay what they are.
    """
    if in_rows is None:
        dense = model.language_model.config._attn_implementation != SPARSE
        in_rows = dense and pack.input_ids_L.device.type == "cpu"
    states_TD = _target_states(model, pack, in_rows, features_NSD)
    size = max(1, LOGITS_PER_CHUNK // model.lm_head.out_features)
    if pack.targets <= size:
        return _chunk_losses(model, states_TD, pack.target_ids_T, coordinates)
    chunks = zip(states_TD.split(size), pack.target_ids_T.split(size), strict=True)
    return torch.cat(
        [checkpoint(_chunk_losses, model, states, ids, coordinates, use_reentrant=False) for states, ids in chunks]
    )


def _target_states(
    model: EarthGPTForConditionalGeneration, pack: Pack, in_rows: bool, features_NSD: torch.Tensor | None
) -> torch.Tensor:
    """Final hidden states (T, D) at the positions that predict the targets."""
    batches = row_batches(pack, model.config) if in_rows else None
    if batches is not None:
        return _row_states(model, pack, batches, features_NSD)
    states_1LD = model.hidden_states(
        input_ids=pack.input_ids_L[None],
        pixel_values=pack.pixel_values_NCHW if len(pack.pixel_values_NCHW) and features_NSD is None else None,
        image_features=features_NSD,
        attention_mask=pack_mask(model.language_model, pack.image_segment_L[None], pack.dialogue_segment_L[None]),
        position_ids=pack.position_ids_L[None],
    )
    return states_1LD[0].index_select(0, pack.target_positions_T)


def _row_states(
    model: EarthGPTForConditionalGeneration, pack: Pack, batches: list[RowBatch], features_NSD: torch.Tensor | None
) -> torch.Tensor:
    """`_target_states` from rows: every image is encoded once, whatever the number of its rows."""
    if features_NSD is None and len(pack.pixel_values_NCHW):
        features_NSD = model.get_image_features(pack.pixel_values_NCHW).pooler_output
    states = []
    for batch in batches:
        mask = None
        if not batch.causal:
            mask = pack_mask(model.language_model, batch.image_segment_RS, batch.dialogue_segment_RS)
        own_NSD = features_NSD[batch.images_N] if features_NSD is not None and len(batch.images_N) else None
        with last_block_at(model.language_model, batch.target_positions_T) as at_targets:
            found = model.hidden_states(
                input_ids=batch.input_ids_RS,
                attention_mask=mask,
                position_ids=None if batch.causal else batch.position_ids_RS,
                image_features=own_NSD,
            )
        flat = found.flatten(0, 1)
        states.append(flat if at_targets else flat.index_select(0, batch.target_positions_T))
    order_T = torch.cat([batch.targets_T for batch in batches])
    return torch.cat(states)[order_T.argsort()]


def _chunk_losses(
    model: EarthGPTForConditionalGeneration,
    states_TD: torch.Tensor,
    ids_T: torch.Tensor,
    coordinates: CoordinateTargets | None,
) -> torch.Tensor:
    logits_TK = model.logits(states_TD).float()
    exact_T = functional.cross_entropy(logits_TK, ids_T, reduction="none")
    return exact_T if coordinates is None else coordinates.losses(logits_TK, ids_T, exact_T)
