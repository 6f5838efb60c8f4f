"""Random weights from which a small model learns quickly. All of it is our choice.

The library's initial weights (standard deviation 0.02 throughout) suit wide models and pre-trained encoders. In a small
model they leave the image a faint signal: a regularised linear read-out of all untrained visual tokens explains about a
tenth of the variance of an object's box with them, and about half of it with the weights made here. What is special to
an encoder, its filters and positions, lies beside the encoder.
"""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def scale_by_inputs(part: nn.Module, blocks: int = 0, branch_ends: tuple[str, ...] = ()) -> None:
    """Redraw linear and convolution weights in place: standard deviation 1 / sqrt(inputs).

    Args:
        blocks: residual blocks of a transformer.
        branch_ends: ends of the names of layers that end a residual branch; theirs is divided by sqrt(2 * blocks).
    """
    for name, module in part.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            std = module.weight[0].numel() ** -0.5
            if branch_ends and name.endswith(branch_ends):
                std *= (2 * blocks) ** -0.5
            module.weight.normal_(0.0, std)


@torch.no_grad()
def make_filters_blind_to_brightness(weight_OIHW: torch.Tensor, share: float, gain: float) -> None:
    """Take the mean out of the first `share` of the filters, so that brightness does not drown contrast; scale all."""
    edges = round(len(weight_OIHW) * share)
    weight_OIHW[:edges] -= weight_OIHW[:edges].mean((-2, -1), keepdim=True)
    weight_OIHW *= gain
