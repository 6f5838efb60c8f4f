"""The last block of a language model at the positions that predict a target, and not at the others.

What follows attention works on each position alone, so of the last block only attention needs all of them: with one
answer of three tokens behind an image and a question, its MLP, two thirds of the block, has a twentieth of the work.
On a CPU 4 to 7 % of a step. The library's block is called as it is: it gets the wanted positions, and its attention,
for the length of the call, all of them in their place. Threads that share a model do not see each other's positions.

Shape legend: B batch, L sequence, T wanted positions of the flattened batch, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from threading import Lock, local
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

_CHANGED = Lock()
_USERS: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
# Of this thread: `positions_T` that it wants, and `hidden_BLD` while the block runs.
_WANTED = local()


@contextmanager
def last_block_at(language_model: nn.Module, positions_T: torch.Tensor) -> Iterator[bool]:
    """Let the model return states (1, T, D) of those positions instead of (B, L, D), in this thread; yields whether it
    will.

    It will not where the block's forward is another than the library's: what compiles a block, or computes it again in
    the backward pass, must find it as it is.

    Args:
        language_model: a decoder of `training.model.language`, whose blocks begin with `input_layernorm` and
            `self_attn`.
    """
    layers: Any = language_model.layers
    block = layers[-1]
    if not _take(block):
        yield False
        return
    _WANTED.positions_T = positions_T
    try:
        yield True
    finally:
        _WANTED.positions_T = None
        _give_back(block)


def _take(block: Any) -> bool:
    """Replace the block's forward, unless another thread did; False where it is somebody else's."""
    with _CHANGED:
        users = _USERS.get(block, 0)
        if not users:
            if "forward" in block.__dict__:
                return False
            block.__dict__["forward"] = partial(_forward, block)
            block.self_attn.__dict__["forward"] = partial(_attend, block)
        _USERS[block] = users + 1
        return True


def _give_back(block: Any) -> None:
    with _CHANGED:
        _USERS[block] -= 1
        if not _USERS[block]:
            del block.__dict__["forward"], block.self_attn.__dict__["forward"]


def _forward(block: Any, hidden_BLD: torch.Tensor, *given: Any, **options: Any) -> Any:
    positions_T = getattr(_WANTED, "positions_T", None)
    if positions_T is None:
        return type(block).forward(block, hidden_BLD, *given, **options)
    _WANTED.hidden_BLD = hidden_BLD
    try:
        return type(block).forward(block, _chosen(hidden_BLD, positions_T), *given, **options)
    finally:
        _WANTED.hidden_BLD = None


def _attend(block: Any, hidden_states: torch.Tensor, **options: Any) -> Any:
    """Of all positions, whatever was handed over; the result at the wanted ones."""
    attention, hidden_BLD = block.self_attn, getattr(_WANTED, "hidden_BLD", None)
    if hidden_BLD is None:
        return type(attention).forward(attention, hidden_states=hidden_states, **options)
    normed_BLD = block.input_layernorm(hidden_BLD)
    mixed_BLD, weights = type(attention).forward(attention, hidden_states=normed_BLD, **options)
    return _chosen(mixed_BLD, _WANTED.positions_T), weights


def _chosen(values_BLD: torch.Tensor, positions_T: torch.Tensor) -> torch.Tensor:
    return values_BLD.flatten(0, 1).index_select(0, positions_T)[None]
