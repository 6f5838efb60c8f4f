"""In which precision a step computes: that of the weights, or bf16 products where it pays or weights are half.

A stage trains in fp32 what it trains and leaves the rest as it came. Beside frozen weights of half precision, layers of
both kinds follow each other, and autocast brings the inputs of each product to one dtype.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from training.config import OptimiserConfig

_HALF = (torch.bfloat16, torch.float16)


def has_half_weights(model: nn.Module) -> bool:
    """Whether any parameter is of half precision."""
    return any(parameter.dtype in _HALF for parameter in model.parameters())


def frozen_dtype(model: nn.Module, device: torch.device) -> torch.dtype | None:
    """The dtype that frozen weights get before training on a device; None leaves them as they are."""
    return torch.bfloat16 if device.type == "cuda" or has_half_weights(model) else None


def trained_dtype(config: OptimiserConfig) -> torch.dtype:
    """The dtype that trained weights are kept in."""
    return torch.bfloat16 if config.weights == "bf16" else torch.float32


def precision(device: torch.device, half: bool) -> AbstractContextManager:
    """bf16 products on a GPU, and on a CPU where the model `has_half_weights`; else the dtype of the weights."""
    return torch.autocast(device.type, torch.bfloat16) if device.type == "cuda" or half else nullcontext()
