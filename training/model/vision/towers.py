"""The image encoders of a model over one image, and their features on one grid. Which encoders there are is data.

Shape suffixes: N images, H W pixels, G cells along one side of a map, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from training.model.operations import activation_dtype, trains
from training.model.vision.encoder import EncoderEntry, PixelStatistics


class VisionTowers(nn.Module):
    """Encoders side by side: the paper's visual-enhanced perception (architecture figure, panel b).

    Each is the child module of its entry's name. An encoder of which no parameter requires a gradient runs in eval mode
    and without autograd, so a training stage that freezes it also saves its activations.

    Args:
        entries: the encoders.
        grid: cells along one side to which all features are brought.
        image_size: side in pixels of the squares that come in.
        attention: the attention kernel that the whole model was asked to use.
    """

    def __init__(self, entries: Sequence[EncoderEntry], grid: int, image_size: int, attention: str):
        super().__init__()
        self.entries = tuple(entries)
        self.grid = grid
        self.image_size = image_size
        for entry in self.entries:
            self.add_module(entry.name, entry.encoder.build(entry.config, attention))

    def forward(self, pixel_values_NCHW: torch.Tensor) -> list[torch.Tensor]:
        """Encode padded squares.

        Args:
            pixel_values_NCHW: uint8 (N, 3, image_size, image_size), RGB.

        Returns:
            Features (N, G, G, C) of each encoder, in their order.

        Raises:
            ValueError: another dtype or shape.
        """
        size = self.image_size
        if pixel_values_NCHW.dtype != torch.uint8 or pixel_values_NCHW.shape[1:] != (3, size, size):
            raise ValueError(
                f"pixel_values is {pixel_values_NCHW.dtype} {tuple(pixel_values_NCHW.shape)}; expected torch.uint8 "
                f"(N, 3, {size}, {size}) as EarthGPTImageProcessor delivers"
            )
        return [self._features_NGGC(entry, pixel_values_NCHW) for entry in self.entries]

    def _features_NGGC(self, entry: EncoderEntry, pixel_values_NCHW: torch.Tensor) -> torch.Tensor:
        """Maps of the chosen layers on the common grid, joined.

        The figure upsamples to the finest map; 12,544 tokens of a 448 px image would not fit the LLM, so the common
        grid is the first encoder's (our choice). It also draws plus signs between a CNN's scales, whose channels differ
        in number: an addition would need a learned matrix for each, which the projection of the concatenation contains.
        """
        model = self.get_submodule(entry.name)
        learns = trains(model.parameters())
        if model.training != (self.training and learns):
            model.train(self.training and learns)
        with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
            dtype = activation_dtype(model)
            pixels_NCHW = normalise(pixel_values_NCHW, entry.image_size, entry.statistics, dtype)
            maps = entry.encoder.maps_NGGC(model, pixels_NCHW, entry.layers)
            return join_layers([resize_map(each, self.grid) for each in maps], entry.fusion)


def normalise(
    pixel_values_NCHW: torch.Tensor, size: int, statistics: PixelStatistics, dtype: torch.dtype
) -> torch.Tensor:
    """Pixels 0..255 to standardised values of side `size` (bilinear with antialiasing): (N, 3, size, size) `dtype`."""
    pixels_NCHW = pixel_values_NCHW.float()
    if pixels_NCHW.shape[-1] != size:
        pixels_NCHW = functional.interpolate(pixels_NCHW, (size, size), mode="bilinear", antialias=True)
    mean_C11, std_C11 = (_filled_C11(pixels_NCHW, values) * 255 for values in (statistics.mean, statistics.std))
    return ((pixels_NCHW - mean_C11) / std_C11).to(dtype)


def _filled_C11(like: torch.Tensor, values: Sequence[float]) -> torch.Tensor:
    """Numbers as a tensor (C, 1, 1), made on the device: a copy from the host would wait for all that is queued."""
    return torch.stack([like.new_full((), value) for value in values])[:, None, None]


def resize_map(map_NGGC: torch.Tensor, grid: int) -> torch.Tensor:
    """Bring a square feature map to `grid` cells a side: area average when shrinking, bilinear when enlarging."""
    side = map_NGGC.shape[1]
    if side == grid:
        return map_NGGC
    map_NCGG = map_NGGC.permute(0, 3, 1, 2)
    if side > grid:
        map_NCGG = functional.adaptive_avg_pool2d(map_NCGG, grid)
    else:
        map_NCGG = functional.interpolate(map_NCGG, (grid, grid), mode="bilinear", align_corners=False)
    return map_NCGG.permute(0, 2, 3, 1)


def join_layers(maps: list[torch.Tensor], fusion: str) -> torch.Tensor:
    """Maps of one encoder's layers on one grid as one map (N, G, G, C); "mean" and "sum" keep the width."""
    if fusion == "concat":
        return torch.cat(maps, dim=-1)
    total = torch.stack(maps).sum(0)
    return total / len(maps) if fusion == "mean" else total
