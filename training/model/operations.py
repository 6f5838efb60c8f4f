"""What single layers cost: operations, and the memory that autograd keeps. Each part of the model adds up its own.

A multiplication and an addition count as two operations. A layer knows what trains in it; whoever asks says whether a
gradient is wanted at its input.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import torch
from torch import nn

# Of one or more layers: forward, backward.
Operation = tuple[int, int]


def trains(parameters: Iterable[nn.Parameter]) -> bool:
    """Whether any of them wants a gradient."""
    return any(parameter.requires_grad for parameter in parameters)


def activation_dtype(module: nn.Module) -> torch.dtype:
    """The dtype that a module computes in: of its first floating tensor. Quantised weights are integers.

    Raises:
        ValueError: it has no floating tensor.
    """
    for tensor in chain(module.parameters(), module.buffers()):
        if tensor.is_floating_point():
            return tensor.dtype
    raise ValueError(f"{type(module).__name__} has no floating tensor, so its dtype is not known")


def linear_operations(layer: Any, positions: int, input_gradient: bool) -> Operation:
    """2N forward for each position (N weights), as much again for the gradient of the input and for that of the weight.

    Args:
        layer: a linear layer or a convolution, with or without low-rank adapters of `peft`.
        input_gradient: whether a gradient is wanted at the layer's input.
    """
    # Quantised weights lie several in one number.
    weights = layer.in_features * layer.out_features if hasattr(layer, "in_features") else layer.weight.numel()
    forward = 2 * weights * positions
    backward = forward * (input_gradient + layer.weight.requires_grad)
    for name in getattr(layer, "lora_A", ()):
        first, second = layer.lora_A[name].weight, layer.lora_B[name].weight
        down, up = 2 * first.numel() * positions, 2 * second.numel() * positions
        learns = first.requires_grad
        forward += down + up
        backward += down * (input_gradient + learns) + up * ((input_gradient or learns) + learns)
    return forward, backward


def linears_memory(layers: Sequence[Any], size: int) -> int:
    """Bytes per position that layers of one input keep, `size` bytes a number.

    The input is kept once if any weight trains; tuned layers keep their own results besides, adapted ones the narrow
    product.
    """
    kept = layers[0].in_features * keeps_input(layers)
    kept += sum(layer.out_features for layer in layers if getattr(layer, "scale_tune", None) is not None)
    kept += sum(sum(layer.r.values()) for layer in layers if hasattr(layer, "lora_A"))
    return size * kept


def keeps_input(layers: Sequence[Any]) -> bool:
    """Whether any weight or adapter of layers of one input trains."""
    adapters = [layer.lora_A for layer in layers if hasattr(layer, "lora_A")]
    return any(layer.weight.requires_grad for layer in layers) or any(trains(each.parameters()) for each in adapters)


def rms_norm_memory(norm: Any, size: int, flows: bool) -> int:
    """Bytes per position of an RMSNorm, which works on an fp32 copy of its input, and keeps its result where it trains.

    Args:
        flows: whether a gradient is wanted at its input.
    """
    return len(norm.weight) * (4 * flows + size * norm.weight.requires_grad)
