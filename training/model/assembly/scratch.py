"""Random weights from which a small model learns quickly. All of it is our choice.

The library's initial weights (standard deviation 0.02 throughout) suit wide models and pre-trained encoders. In a small
model they leave the image a faint signal: a regularised linear read-out of all untrained visual tokens explains about a
tenth of the variance of an object's box with them, and about half of it with the weights made here.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import ConvNextModel, Dinov2Model

from training.model.fusion import EarthGPTProjector
from training.model.modeling import EarthGPTForConditionalGeneration

PATCH_GAIN = 4.0
EDGE_SHARE = 0.75


@torch.no_grad()
def scale_for_training_from_scratch(model: EarthGPTForConditionalGeneration) -> None:
    """Redraw weights in place from the global generator.

    Linear and convolution weights have standard deviation 1 / sqrt(inputs), divided by sqrt(2 * blocks) where they end
    a residual branch of a transformer. The encoders' filters and positions are those of `scale_vit` and `scale_cnn`.
    """
    _scale_by_inputs(model.language_model, model.config.text_config.num_hidden_layers)
    scale_vit(model.vision.vit)
    scale_cnn(model.vision.cnn)
    _scale_by_inputs(model.projector, None)
    for vector in (model.projector.start, model.projector.end, model.language_model.embed_tokens.weight):
        if not (model.config.tie_word_embeddings and vector is model.lm_head.weight):
            vector.normal_()


@torch.no_grad()
def scale_vit(vit: Dinov2Model) -> None:
    """Redraw a ViT's weights. Its patch filters do not see brightness, which would drown contrast; its positions are
    the sines and cosines of row and column."""
    _scale_by_inputs(vit, vit.config.num_hidden_layers)
    _make_patch_filters(vit.embeddings.patch_embeddings.projection.weight, share=1.0, gain=PATCH_GAIN)
    positions = vit.embeddings.position_embeddings
    side = int((positions.shape[1] - 1) ** 0.5)
    positions[0, 1:] = sine_cosine_positions(side, vit.config.hidden_size)


@torch.no_grad()
def scale_cnn(cnn: ConvNextModel) -> None:
    """Redraw a ConvNeXt's weights. Most patch and depthwise filters do not see brightness; the other depthwise filters
    start near the identity."""
    _scale_by_inputs(cnn, None)
    _make_patch_filters(cnn.embeddings.patch_embeddings.weight, share=EDGE_SHARE, gain=1.0)
    for name, module in cnn.named_modules():
        if name.endswith("dwconv"):
            _make_depthwise_filters(module.weight)


@torch.no_grad()
def scale_projector(projector: EarthGPTProjector, rms: float) -> None:
    """Redraw a projector's weights such that visual tokens have the root mean square `rms` of the text embeddings."""
    _scale_by_inputs(projector, None)
    last = projector.norm.weight if isinstance(projector.norm, nn.LayerNorm) else projector.linear.weight
    last.mul_(rms)
    for vector in (projector.start, projector.end):
        vector.normal_(0.0, rms)


def sine_cosine_positions(side: int, width: int) -> torch.Tensor:
    """Row-major position vectors (side * side, width): a quarter each of row sines, row cosines, column sines, cosines.

    The wavelengths run from 2 pi cells upwards geometrically, 100 times over.

    Raises:
        ValueError: the width is not divisible by four.
    """
    if width % 4:
        raise ValueError(f"width is {width}; set a multiple of 4 as vit_config.hidden_size")
    frequencies = 100.0 ** (-torch.arange(width // 4) / (width // 4))
    angles = torch.arange(side)[:, None] * frequencies
    along = torch.cat((angles.sin(), angles.cos()), dim=-1)
    rows, columns = along[:, None].expand(side, side, -1), along[None].expand(side, side, -1)
    return torch.cat((rows, columns), dim=-1).flatten(0, 1)


def _scale_by_inputs(part: nn.Module, blocks: int | None) -> None:
    for name, module in part.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            std = module.weight[0].numel() ** -0.5
            if blocks is not None and name.endswith(("o_proj", "down_proj", "fc2")):
                std *= (2 * blocks) ** -0.5
            module.weight.normal_(0.0, std)


def _make_patch_filters(weight_OIHW: torch.Tensor, share: float, gain: float) -> None:
    edges = round(len(weight_OIHW) * share)
    weight_OIHW[:edges] -= weight_OIHW[:edges].mean((-2, -1), keepdim=True)
    weight_OIHW *= gain


def _make_depthwise_filters(weight_O1HW: torch.Tensor) -> None:
    edges = round(len(weight_O1HW) * EDGE_SHARE)
    weight_O1HW[:edges] -= weight_O1HW[:edges].mean((-2, -1), keepdim=True)
    centre = weight_O1HW.shape[-1] // 2
    weight_O1HW[edges:, :, centre, centre] += 1.0
