"""DINOv3 ViT with registers and rotated positions: Hugging Face folders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from transformers import DINOv3ViTModel

from training.model.vision.encoder import IMAGENET, register_encoder
from training.model.vision.patches import PatchEncoder, drop_mask_token


class Dinov3Vit(PatchEncoder):
    """DINOv3 ViT (arXiv 2508.10104). Its positions are angles, so it takes images of any size as it is."""

    model_type = "dinov3_vit"
    model_class = DINOv3ViTModel
    statistics = IMAGENET
    branch_ends = ("o_proj", "down_proj")

    def build(self, config: Any, attention: str) -> nn.Module:
        """Without what only its pre-training used."""
        model = super().build(config, attention)
        self.trim(model)
        return model

    def trim(self, model: Any) -> None:
        """Without the mask token, and without random shifts and scales of positions: boxes need the true ones."""
        drop_mask_token(model.embeddings)
        model.config.pos_embed_shift = model.config.pos_embed_jitter = model.config.pos_embed_rescale = None

    def leading_tokens(self, config: Any) -> int:
        """A class token and the registers."""
        return 1 + config.num_register_tokens

    def patch_layer(self, model: Any) -> nn.Conv2d:
        """The convolution that makes patches."""
        return model.embeddings.patch_embeddings

    def blocks(self, model: Any) -> Sequence[nn.Module]:
        """The transformer's blocks, one module deeper in some versions of transformers."""
        return model.layer if hasattr(model, "layer") else model.model.layer

    def final_norm(self, model: Any) -> nn.Module:
        """The norm behind the last block."""
        return model.norm

    def positions_TD(self, model: Any) -> None:
        """None: rotations are computed."""
        return None


register_encoder(Dinov3Vit())
