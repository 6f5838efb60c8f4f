"""Attention over packs by kernel: which one a device takes, the mask it needs, and its place in transformers.

On a GPU `flex_attention` skips the blocks that the pack's mask hides: of the L x L scores of a pack only those inside
its images are computed. CPUs have no such kernel and take the dense mask.

Shape suffixes: B batch, H heads, L sequence, E width of a head.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import torch
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from transformers import AttentionInterface, PreTrainedModel

from training.model.language.decoder import Decoder, decoder_of
from training.model.masks import build_block_mask, build_flex_mask

SPARSE = "mmrs_flex"
_EAGER = "eager"


def attention_name(wanted: str, device: torch.device, decoder: Decoder) -> str:
    """The name that transformers knows a kernel by.

    Args:
        wanted: "flex", "sdpa" for the dense one that the decoder takes, or "auto": flex on a GPU.
    """
    flex = wanted == "flex" or (wanted == "auto" and device.type == "cuda")
    return SPARSE if flex else decoder.dense_kernel


def set_attention(language_model: PreTrainedModel, name: str) -> None:
    """Let the language model compute attention with the kernel of that name; the encoders keep theirs."""
    language_model.config._attn_implementation = name


PackMask = torch.Tensor | BlockMask


def pack_mask(
    language_model: PreTrainedModel, image_segment_BL: torch.Tensor, dialogue_segment_BL: torch.Tensor
) -> PackMask | dict[str, PackMask]:
    """The mask of packs in the form that the language model's kernel takes; by kind where its blocks take several."""
    kernel = language_model.config._attn_implementation

    def make(window: int | None) -> PackMask:
        if kernel == SPARSE:
            return build_flex_mask(image_segment_BL, dialogue_segment_BL, window)
        # Added to fp32 scores; the other kernels take it as it is.
        dtype = torch.float32 if kernel == _EAGER else None
        return build_block_mask(image_segment_BL, dialogue_segment_BL, dtype, window)

    masks = {kind: make(window) for kind, window in decoder_of(language_model.config).windows(language_model.config)}
    return masks.get("", masks)


def _flex(
    module: torch.nn.Module,
    query_BHLE: torch.Tensor,
    key_BHLE: torch.Tensor,
    value_BHLE: torch.Tensor,
    attention_mask: BlockMask | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """The form that transformers calls; returns (B, L, H, E).

    Rotation may leave queries and keys in fp32 while autocast made the values bf16; the kernel wants one dtype.

    Raises:
        ValueError: no block mask, or dropout, which the kernel lacks.
    """
    if not isinstance(attention_mask, BlockMask):
        raise ValueError(f"{SPARSE} needs a BlockMask, got {type(attention_mask).__name__}; packs alone have one")
    dropout, softcap = options.get("dropout"), options.get("softcap")
    if dropout:
        raise ValueError(f"attention_dropout is {dropout}, which flex attention lacks; set parallel.attention=sdpa")
    dtype = value_BHLE.dtype
    mixed_BHLE = _kernel(value_BHLE.device.type)(
        query_BHLE.to(dtype),
        key_BHLE.to(dtype),
        value_BHLE,
        score_mod=None if softcap is None else partial(_capped, softcap),
        block_mask=attention_mask,
        scale=scaling,
        enable_gqa=query_BHLE.shape[1] != key_BHLE.shape[1],
    )
    return mixed_BHLE.transpose(1, 2).contiguous(), None


def _capped(
    cap: float,
    score: torch.Tensor,
    row: torch.Tensor,
    head: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
) -> torch.Tensor:
    return cap * torch.tanh(score / cap)


def _kernel(device_type: str) -> Any:
    # Inside a compiled layer the call is compiled with it. Uncompiled, flex computes all L x L scores, which is of use
    # on a CPU alone: to compare.
    if torch.compiler.is_compiling() or device_type == "cpu":
        return flex_attention
    return _compiled()


@cache
def _compiled() -> Any:
    return torch.compile(flex_attention)


AttentionInterface.register(SPARSE, _flex)
