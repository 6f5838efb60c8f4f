"""From two feature maps to the visual part of the LLM's input.

Shape suffixes: N images, G grid side, C channels of the ConvNeXt features, V channels of the ViT features, T visual
tokens, M token_merge, D width of the LLM.
"""

from __future__ import annotations

import torch
from torch import nn

from training.model.configuration import EarthGPTConfig


class EarthGPTProjector(nn.Module):
    """Z = Linear([C ; V]), the circled plus and the one linear projection of the architecture figure, panel b.

    The plus is read as concatenation, as in the code line that the paper builds on (SPHINX). With `config.fusion` "sum"
    or "mean" it is read as an addition, V + A C or half of it with a learned A: a linear layer on the concatenation can
    be any of these, so they are ablations with fewer parameters and not more.

    The LayerNorm after it and the learned vectors before and after the image follow that code line; merging
    neighbouring cells is our choice.
    """

    def __init__(self, config: EarthGPTConfig):
        super().__init__()
        width = config.text_config.hidden_size
        self.token_merge = config.token_merge
        self.fusion = config.fusion
        concat = config.fusion == "concat"
        self.align = None if concat else nn.Linear(config.cnn_channels, config.vit_channels, bias=False)
        self.linear = nn.Linear(config.fused_channels * config.token_merge**2, width)
        self.norm = nn.LayerNorm(width) if config.projector_norm else nn.Identity()
        self.start = nn.Parameter(torch.zeros(width))
        self.end = nn.Parameter(torch.zeros(width))

    def forward(self, cnn_NGGC: torch.Tensor, vit_NGGV: torch.Tensor) -> torch.Tensor:
        """Join, merge, project and frame: (N, T + 2, D), ordered start, tokens row by row, end."""
        merged = merge_tokens(self._joined(cnn_NGGC, vit_NGGV), self.token_merge)
        tokens_NTD = self.norm(self.linear(merged))
        frame = (tokens_NTD.shape[0], 1, tokens_NTD.shape[-1])
        return torch.cat((self.start.expand(frame), tokens_NTD, self.end.expand(frame)), dim=1)

    def _joined(self, cnn_NGGC: torch.Tensor, vit_NGGV: torch.Tensor) -> torch.Tensor:
        """Both encoders' features of each cell, in the dtype of the projection: (N, G, G, C + V), or (N, G, G, V)."""
        dtype = self.linear.weight.dtype
        cnn_NGGC, vit_NGGV = cnn_NGGC.to(dtype), vit_NGGV.to(dtype)
        if self.align is None:
            return torch.cat((cnn_NGGC, vit_NGGV), dim=-1)
        total_NGGV = vit_NGGV + self.align(cnn_NGGC)
        return total_NGGV / 2 if self.fusion == "mean" else total_NGGV


def merge_tokens(features_NGGC: torch.Tensor, merge: int) -> torch.Tensor:
    """Join each `merge` x `merge` square of cells along channels: (N, (G / M)^2, C * M^2), row by row."""
    rows_columns = features_NGGC.unflatten(2, (-1, merge)).unflatten(1, (-1, merge))
    return rows_columns.transpose(2, 3).flatten(3).flatten(1, 2)
