"""What the vision transformers of CLIP and SigLIP share in transformers: names of parts, and of their weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from training.model.vision.encoder import OriginalFacts, State
from training.model.vision.original_names import count, heads_of
from training.model.vision.patches import PatchEncoder

PROJECTIONS = tuple(f"layers.#.self_attn.{part}_proj" for part in "qkv")
_POSITIONS = "vision_model.embeddings.position_embedding.weight"


class ClipFormEncoder(PatchEncoder):
    """A ViT with learned positions and biased layers, as `CLIPVisionModel` and `SiglipVisionModel` hold it."""

    branch_ends = ("out_proj", "fc2")

    def patch_layer(self, model: Any) -> Any:
        """The convolution, or linear layer, that makes patches."""
        return inner(model).embeddings.patch_embedding

    def blocks(self, model: Any) -> Sequence[nn.Module]:
        """The transformer's blocks."""
        return inner(model).encoder.layers

    def final_norm(self, model: Any) -> nn.Module:
        """The norm behind the last block, which CLIP itself gives its class token alone."""
        return inner(model).post_layernorm

    def positions_TD(self, model: Any) -> torch.Tensor:
        """Those of the patches, which stand behind that of a class token."""
        return inner(model).embeddings.position_embedding.weight[self.prefix_tokens :]

    def forward_options(self) -> dict[str, Any]:
        """Positions are interpolated only where that is asked for."""
        return {"interpolate_pos_encoding": True}

    def sizes(self, named: State, facts: OriginalFacts) -> dict[str, Any]:
        """The sizes of a configuration, read from the shapes of weights under their published names."""
        patches = named["vision_model.embeddings.patch_embedding.weight"]
        positions = len(named[_POSITIONS]) - self.prefix_tokens
        return {
            "hidden_size": patches.shape[0],
            "intermediate_size": len(named["vision_model.encoder.layers.0.mlp.fc1.bias"]),
            "num_hidden_layers": count(named, r"vision_model\.encoder\.layers\.(\d+)\."),
            "num_attention_heads": heads_of(patches.shape[0], facts.head_width),
            "patch_size": patches.shape[-1],
            "image_size": round(positions**0.5) * patches.shape[-1],
        }


def flat_positions(named: State) -> dict[str, torch.Tensor]:
    """The weights with positions (T, D): timm has a dimension before them."""
    return {**named, _POSITIONS: named[_POSITIONS].flatten(0, -2)}


def inner(model: Any) -> Any:
    """Some versions of transformers hold all that there is one module deeper."""
    return getattr(model, "vision_model", model)
