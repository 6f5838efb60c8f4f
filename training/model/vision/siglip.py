"""The image encoder of SigLIP, alone or out of a whole SigLIP: Hugging Face folders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import SiglipVisionModel

from training.model.vision.encoder import HALF, register_encoder
from training.model.vision.patches import PatchEncoder


class Siglip(PatchEncoder):
    """SigLIP ViT (arXiv 2303.15343), without a class token."""

    model_type = "siglip_vision_model"
    model_class = SiglipVisionModel
    statistics = HALF
    branch_ends = ("out_proj", "fc2")

    def trim(self, model: Any) -> None:
        """Without the head that pools the patches into one vector."""
        inner = _inner(model)
        model.config.vision_use_head = inner.use_head = False
        if hasattr(inner, "head"):
            del inner.head

    def patch_layer(self, model: Any) -> nn.Conv2d:
        """The convolution that makes patches."""
        return _inner(model).embeddings.patch_embedding

    def blocks(self, model: Any) -> Sequence[nn.Module]:
        """The transformer's blocks."""
        return _inner(model).encoder.layers

    def final_norm(self, model: Any) -> nn.Module:
        """The norm behind the last block."""
        return _inner(model).post_layernorm

    def positions_TD(self, model: Any) -> torch.Tensor:
        """One for every patch."""
        return _inner(model).embeddings.position_embedding.weight

    def forward_options(self) -> dict[str, Any]:
        """Positions are interpolated only where that is asked for."""
        return {"interpolate_pos_encoding": True}


def _inner(model: Any) -> Any:
    """Some versions of transformers hold all that there is one module deeper."""
    return getattr(model, "vision_model", model)


register_encoder(Siglip())
