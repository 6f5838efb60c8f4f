"""From two feature maps to the visual part of the LLM's input.

Shape suffixes: N images, G grid side, C channels of the ConvNeXt features, V channels of the ViT features, T visual
tokens, M token_merge, D width of the LLM.
"""

from __future__ import annotations

import torch
from torch import nn

from training.model.configuration import EarthGPTConfig


class EarthGPTProjector(nn.Module):
    """Z = Linear([C ; V]), the one linear projection of the architecture figure.

    The LayerNorm after it follows the code line that the paper builds on; merging neighbouring cells is our choice.
    The learned vectors before and after the image also follow that code line.
    """

    def __init__(self, config: EarthGPTConfig):
        super().__init__()
        width = config.text_config.hidden_size
        channels = (config.cnn_channels + config.vit_channels) * config.token_merge**2
        self.token_merge = config.token_merge
        self.linear = nn.Linear(channels, width)
        self.norm = nn.LayerNorm(width) if config.projector_norm else nn.Identity()
        self.start = nn.Parameter(torch.zeros(width))
        self.end = nn.Parameter(torch.zeros(width))

    def forward(self, cnn_NGGC: torch.Tensor, vit_NGGV: torch.Tensor) -> torch.Tensor:
        """Join, merge, project and frame: (N, T + 2, D), ordered start, tokens row by row, end."""
        joined = torch.cat((cnn_NGGC, vit_NGGV), dim=-1)
        merged = merge_tokens(joined, self.token_merge)
        tokens_NTD = self.norm(self.linear(merged.to(self.linear.weight.dtype)))
        frame = (tokens_NTD.shape[0], 1, tokens_NTD.shape[-1])
        return torch.cat((self.start.expand(frame), tokens_NTD, self.end.expand(frame)), dim=1)


def merge_tokens(features_NGGC: torch.Tensor, merge: int) -> torch.Tensor:
    """Join each `merge` x `merge` square of cells along channels: (N, (G / M)^2, C * M^2), row by row."""
    rows_columns = features_NGGC.unflatten(2, (-1, merge)).unflatten(1, (-1, merge))
    return rows_columns.transpose(2, 3).flatten(3).flatten(1, 2)
