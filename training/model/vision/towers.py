"""Two visual encoders over one image, and their features on one grid.

Shape suffixes: N images, H W pixels, G grid side, C channels of the ConvNeXt features, V channels of the ViT features.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from transformers import ConvNextModel, Dinov2Model

from training.model.configuration import EarthGPTConfig

# Each encoder was pre-trained with its own statistics; the values are for pixels in 0..1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class EarthGPTDualEncoder(nn.Module):
    """DINOv2 and ConvNeXt side by side: the paper's visual-enhanced perception (architecture figure, panel b).

    An encoder of which no parameter requires a gradient runs in eval mode and without autograd, so a training stage
    that freezes it also saves its activations.
    """

    def __init__(self, config: EarthGPTConfig):
        super().__init__()
        self.config = config
        self.vit = Dinov2Model(config.vit_config)
        # It has no attention, and refuses any implementation but this one that is asked for the whole model.
        config.cnn_config._attn_implementation = "eager"
        self.cnn = ConvNextModel(config.cnn_config)

    def forward(self, pixel_values_NCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode padded squares.

        Args:
            pixel_values_NCHW: uint8 (N, 3, image_size, image_size), RGB.

        Returns:
            ConvNeXt features (N, G, G, C) and ViT features (N, G, G, V).

        Raises:
            ValueError: another dtype or shape.
        """
        size = self.config.image_size
        if pixel_values_NCHW.dtype != torch.uint8 or pixel_values_NCHW.shape[1:] != (3, size, size):
            raise ValueError(
                f"pixel_values is {pixel_values_NCHW.dtype} {tuple(pixel_values_NCHW.shape)}; expected torch.uint8 "
                f"(N, 3, {size}, {size}) as EarthGPTImageProcessor delivers"
            )
        return (
            _run(self.cnn, self._cnn_features, pixel_values_NCHW, self.training),
            _run(self.vit, self._vit_features, pixel_values_NCHW, self.training),
        )

    def _vit_features(self, pixel_values_NCHW: torch.Tensor) -> torch.Tensor:
        """Output of the chosen blocks after the final LayerNorm, without the class token, joined: (N, G, G, V).

        The paper taps the map of every drawn block; which ones and how they are joined is our choice.
        """
        pixels_NCHW = normalise(
            pixel_values_NCHW, self.config.vit_image_size, IMAGENET_MEAN, IMAGENET_STD, _dtype(self.vit)
        )
        states = self.vit(pixels_NCHW, output_hidden_states=True).hidden_states
        layers = [self.vit.layernorm(states[layer])[:, 1:] for layer in self.config.vit_layers]
        if self.config.vit_fusion == "concat":
            joined = torch.cat(layers, dim=-1)
        else:
            joined = torch.stack(layers).sum(0) / (len(layers) if self.config.vit_fusion == "mean" else 1)
        return joined.unflatten(1, (self.config.grid, self.config.grid))

    def _cnn_features(self, pixel_values_NCHW: torch.Tensor) -> torch.Tensor:
        """Maps of the chosen stages, normalised, resized to the grid and joined along channels: (N, G, G, C).

        The figure upsamples to the finest map; 12,544 tokens of a 448 px image would not fit the LLM, so the common
        grid is the ViT's (our choice). It also draws plus signs between the scales, whose channels differ in number: an
        addition would need a learned matrix for each, which the projection of the concatenation contains.
        """
        pixels_NCHW = normalise(pixel_values_NCHW, self.config.cnn_image_size, CLIP_MEAN, CLIP_STD, _dtype(self.cnn))
        maps = self.cnn(pixels_NCHW, output_hidden_states=True).hidden_states[1:]
        chosen = [
            resize_map(_normalise_stage(self.cnn, maps[stage - 1], stage), self.config.grid)
            for stage in self.config.cnn_stages
        ]
        return torch.cat(chosen, dim=1).permute(0, 2, 3, 1)


def normalise(
    pixel_values_NCHW: torch.Tensor,
    size: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    dtype: torch.dtype,
) -> torch.Tensor:
    """Pixels 0..255 to standardised values of side `size` (bilinear with antialiasing): (N, 3, size, size) `dtype`."""
    pixels_NCHW = pixel_values_NCHW.float()
    if pixels_NCHW.shape[-1] != size:
        pixels_NCHW = functional.interpolate(pixels_NCHW, (size, size), mode="bilinear", antialias=True)
    mean_C11 = pixels_NCHW.new_tensor(mean)[:, None, None] * 255
    std_C11 = pixels_NCHW.new_tensor(std)[:, None, None] * 255
    return ((pixels_NCHW - mean_C11) / std_C11).to(dtype)


def resize_map(map_NCHW: torch.Tensor, grid: int) -> torch.Tensor:
    """Bring a square feature map to `grid` cells a side: area average when shrinking, bilinear when enlarging."""
    side = map_NCHW.shape[-1]
    if side > grid:
        return functional.adaptive_avg_pool2d(map_NCHW, grid)
    if side < grid:
        return functional.interpolate(map_NCHW, (grid, grid), mode="bilinear", align_corners=False)
    return map_NCHW


def _normalise_stage(cnn: ConvNextModel, map_NCHW: torch.Tensor, stage: int) -> torch.Tensor:
    # Every stage's map is read by exactly one pre-trained LayerNorm: the next stage's, or the model's final one. With
    # it all scales reach the projector in the range that the network itself works with, at no extra parameter.
    if stage < len(cnn.encoder.stages):
        return cnn.encoder.stages[stage].downsampling_layer[0](map_NCHW)
    return cnn.layernorm(map_NCHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _run(encoder: nn.Module, features, pixel_values_NCHW: torch.Tensor, training: bool) -> torch.Tensor:
    trainable = any(parameter.requires_grad for parameter in encoder.parameters())
    if encoder.training != (training and trainable):
        encoder.train(training and trainable)
    with torch.set_grad_enabled(trainable and torch.is_grad_enabled()):
        return features(pixel_values_NCHW)


def _dtype(module: nn.Module) -> torch.dtype:
    return next(module.parameters()).dtype
