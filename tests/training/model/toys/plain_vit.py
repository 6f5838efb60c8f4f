"""The plain ViT of transformers (arXiv 2010.11929) as an encoder: all that adding one takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import ViTModel

from training.model.vision.encoder import HALF, register_encoder
from training.model.vision.patches import PatchEncoder


class PlainVit(PatchEncoder):
    model_type = "vit"
    model_class = ViTModel
    statistics = HALF
    prefix_tokens = 1

    def build(self, config: Any, attention: str) -> nn.Module:
        model = super().build(config, attention)
        self.trim(model)
        return model

    def trim(self, model: Any) -> None:
        model.pooler = None

    def patch_layer(self, model: Any) -> nn.Conv2d:
        return model.embeddings.patch_embeddings.projection

    def blocks(self, model: Any) -> Sequence[nn.Module]:
        return model.layers if hasattr(model, "layers") else model.encoder.layer

    def final_norm(self, model: Any) -> nn.Module:
        return model.layernorm

    def positions_TD(self, model: Any) -> torch.Tensor:
        return model.embeddings.position_embeddings[0, 1:]

    def forward_options(self) -> dict[str, Any]:
        return {"interpolate_pos_encoding": True}


register_encoder(PlainVit())
