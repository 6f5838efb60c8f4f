"""The last block of a language model at the positions that predict a target, and not at the others.

What follows attention works on each position alone, so of the last block only attention needs all of them: with one
answer of three tokens behind an image and a question, its MLP, two thirds of the block, has a twentieth of the work.
On a CPU 4 to 7 % of a step. The library's block is called as it is: it gets the wanted positions, and its attention,
for the length of the call, all of them in their place.

Shape legend: B batch, L sequence, T wanted positions of the flattened batch, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn


@contextmanager
def last_block_at(language_model: nn.Module, positions_T: torch.Tensor) -> Iterator[bool]:
    """Let the model return states (1, T, D) of those positions instead of (B, L, D); yields whether it will.

    It will not where the block's forward is another than the library's: what compiles a block, or computes it again in
    the backward pass, must find it as it is.

    Args:
        language_model: a decoder of `training.model.language`, whose blocks begin with `input_layernorm` and
            `self_attn`.
    """
    layers: Any = language_model.layers
    block = layers[-1]
    if "forward" in block.__dict__:
        yield False
        return
    block.__dict__["forward"] = partial(_forward_at, block, positions_T)
    try:
        yield True
    finally:
        del block.__dict__["forward"]


def _forward_at(block: Any, positions_T: torch.Tensor, hidden_BLD: torch.Tensor, **options: Any) -> Any:
    attention = block.self_attn

    def attend(hidden_states: torch.Tensor, **given: Any) -> Any:
        """Of all positions, whatever was handed over."""
        mixed_BLD, weights = type(attention).forward(
            attention, hidden_states=block.input_layernorm(hidden_BLD), **given
        )
        return _chosen(mixed_BLD, positions_T), weights

    attention.__dict__["forward"] = attend
    try:
        return type(block).forward(block, _chosen(hidden_BLD, positions_T), **options)
    finally:
        del attention.__dict__["forward"]


def _chosen(values_BLD: torch.Tensor, positions_T: torch.Tensor) -> torch.Tensor:
    return values_BLD.flatten(0, 1).index_select(0, positions_T)[None]
