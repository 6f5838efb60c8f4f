"""The image encoder of a SigLIP 2 of variable resolution (NaFlex), alone or out of a whole one: Hugging Face folders.

A SigLIP 2 of fixed resolution has the form of a SigLIP, and is one to transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import Siglip2VisionModel

from training.model.vision.encoder import register_encoder
from training.model.vision.siglip import Siglip


class Siglip2(Siglip):
    """SigLIP 2 ViT (arXiv 2502.14786), which takes patches, not pixels: a linear layer makes each a token."""

    model_type = "siglip2_vision_model"
    model_class = Siglip2VisionModel

    def native_size(self, config: Any) -> int:
        """The square of as many patches as it was trained with."""
        return int(config.num_patches**0.5) * config.patch_size

    def hidden_states(self, model: Any, pixels_NCHW: torch.Tensor) -> Sequence[torch.Tensor]:
        """After the embedding and after each block, of images cut into patches row by row."""
        side = model.config.patch_size
        grid = pixels_NCHW.shape[-1] // side
        cells_NGGPPC = pixels_NCHW.unflatten(3, (grid, side)).unflatten(2, (grid, side)).permute(0, 2, 4, 3, 5, 1)
        # On the host, where the library reads it as numbers; all patches of a square count, so there is no mask.
        shapes_N2 = torch.full((len(pixels_NCHW), 2), grid)
        patches_NTP = cells_NGGPPC.flatten(3).flatten(1, 2)
        outputs = model(patches_NTP, pixel_attention_mask=None, spatial_shapes=shapes_N2, output_hidden_states=True)
        return outputs.hidden_states

    def patch_filters_OIHW(self, model: Any) -> torch.Tensor:
        """The linear layer's rows, which hold a patch's pixels one after the other, colours last."""
        side = model.config.patch_size
        return self.patch_layer(model).weight.unflatten(1, (side, side, -1)).permute(0, 3, 1, 2)


register_encoder(Siglip2())
