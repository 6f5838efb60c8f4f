"""From the encoders' feature maps to the visual part of the LLM's input.

Shape suffixes: N images, G grid side, C channels of one encoder's features, T visual tokens, M token_merge, D width of
the LLM.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from training.model.configuration import EarthGPTConfig
from training.model.operations import Operation, activation_dtype, linear_operations, trains
from training.model.random_weights import scale_by_inputs


class EarthGPTProjector(nn.Module):
    """Z = Linear([C ; V]), the circled plus and the one linear projection of the architecture figure, panel b.

    The plus is read as concatenation, as in the code line that the paper builds on (SPHINX): the first encoder's
    channels come last. With `config.fusion` "sum" or "mean" it is read as an addition, V + A C or half of it with a
    learned A for every encoder C but the first: a linear layer on the concatenation can be any of these, so they are
    ablations with fewer parameters and not more.

    The LayerNorm after it and the learned vectors before and after the image follow that code line; merging
    neighbouring cells and vectors for their places are our choice.
    """

    def __init__(self, config: EarthGPTConfig):
        super().__init__()
        width = config.text.hidden_size
        self.token_merge = config.token_merge
        self.fusion = config.fusion
        first, *others = config.entries
        self.align: nn.ModuleDict | None = None
        if config.fusion != "concat":
            self.align = nn.ModuleDict(
                {entry.name: nn.Linear(entry.width, first.width, bias=False) for entry in others}
            )
        self.linear = nn.Linear(config.fused_channels * config.token_merge**2, width)
        self.norm = nn.LayerNorm(width) if config.projector_norm else nn.Identity()
        self.positions = nn.Parameter(torch.zeros(config.visual_tokens, width)) if config.visual_positions else None
        self.start = nn.Parameter(torch.zeros(width))
        self.end = nn.Parameter(torch.zeros(width))

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Join, merge, project, place and frame: (N, T + 2, D), ordered start, tokens row by row, end.

        Args:
            features: (N, G, G, C) of each encoder, in their order.
        """
        merged = merge_tokens(self._joined(features), self.token_merge)
        tokens_NTD = self.norm(self.linear(merged))
        if self.positions is not None:
            tokens_NTD = tokens_NTD + self.positions
        frame = (tokens_NTD.shape[0], 1, tokens_NTD.shape[-1])
        return torch.cat((self.start.expand(frame), tokens_NTD, self.end.expand(frame)), dim=1)

    def operations(self, grid: int, visual_tokens: int, encoders_train: Sequence[bool]) -> Iterator[Operation]:
        """Of one image, for `training.model.accounting`.

        Args:
            encoders_train: for each encoder whether a gradient is wanted at its features.
        """
        flows = any(encoders_train)
        for align, wanted in zip(self._alignments(), encoders_train[1:], strict=False):
            yield linear_operations(align, grid**2, wanted)
            flows = flows or align.weight.requires_grad
        yield linear_operations(self.linear, visual_tokens, flows)

    def memory(self, grid: int, visual_tokens: int, size: int) -> int:
        """Bytes per image that autograd keeps behind frozen encoders: the input of each trained layer, and the norm's.

        Args:
            size: bytes a number.
        """
        total = 0
        for align in self._alignments():
            total += size * grid**2 * align.in_features * align.weight.requires_grad
        total += size * visual_tokens * self.linear.in_features * self.linear.weight.requires_grad
        if isinstance(self.norm, nn.LayerNorm) and trains(self.parameters()):
            total += size * visual_tokens * self.linear.out_features
        return total

    @torch.no_grad()
    def scale_random(self, rms: float | None = None) -> None:
        """Redraw all weights in place, see `training.model.random_weights`.

        Args:
            rms: root mean square of the text embeddings, which the visual tokens are to have; None for embeddings that
                are drawn with a standard deviation of 1.
        """
        scale_by_inputs(self)
        if rms is not None:
            last = self.norm.weight if isinstance(self.norm, nn.LayerNorm) else self.linear.weight
            last.mul_(rms)
        for vector in (self.start, self.end, *([] if self.positions is None else [self.positions])):
            vector.normal_(0.0, 1.0 if rms is None else rms)

    def _alignments(self) -> list[nn.Linear]:
        return [] if self.align is None else [layer for layer in self.align.values() if isinstance(layer, nn.Linear)]

    def _joined(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """All encoders' features of each cell, in the dtype of the projection."""
        dtype = activation_dtype(self.linear)
        first, *others = (each_NGGC.to(dtype) for each_NGGC in features)
        if self.align is None:
            return torch.cat((*others, first), dim=-1)
        total = first
        for align, other in zip(self.align.values(), others, strict=True):
            total = total + align(other)
        return total / len(features) if self.fusion == "mean" else total


def merge_tokens(features_NGGC: torch.Tensor, merge: int) -> torch.Tensor:
    """Join each `merge` x `merge` square of cells along channels: (N, (G / M)^2, C * M^2), row by row."""
    rows_columns = features_NGGC.unflatten(2, (-1, merge)).unflatten(1, (-1, merge))
    return rows_columns.transpose(2, 3).flatten(3).flatten(1, 2)
