"""The image encoder of SigLIP and of SigLIP 2 of fixed resolution: Hugging Face folders, whole or its image encoder
alone, and checkpoints of timm and of OpenCLIP around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import SiglipVisionConfig, SiglipVisionModel

from training.model.vision.encoder import HALF, NO_FACTS, OriginalFacts, State, register_encoder
from training.model.vision.original_names import count, heads_of, image_tower, loaded, renamed, unstacked
from training.model.vision.patches import PatchEncoder

_NAMES = (
    ("pos_embed", "embeddings.position_embedding.weight"),
    ("patch_embed.proj.", "embeddings.patch_embedding."),
    ("norm.", "post_layernorm."),
    ("blocks.#.norm#.", "encoder.layers.#.layer_norm#."),
    ("blocks.#.attn.proj.", "encoder.layers.#.self_attn.out_proj."),
    ("blocks.#.mlp.fc#.", "encoder.layers.#.mlp.fc#."),
    ("layers.#.", "encoder.layers.#."),
)


class Siglip(PatchEncoder):
    """SigLIP ViT (arXiv 2303.15343), without a class token."""

    model_type = "siglip_vision_model"
    model_class: ClassVar[type] = SiglipVisionModel
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

    def is_original(self, state: State) -> bool:
        """Timm's names, and positions for patches alone."""
        own = image_tower(state)
        plain = {"pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "norm.weight"} <= own.keys()
        return plain and not {"cls_token", "reg_token", "blocks.0.ls1.gamma"} & own.keys()

    def from_original(self, state: State, facts: OriginalFacts = NO_FACTS) -> nn.Module:
        """A timm checkpoint, or an OpenCLIP one around it; all sizes are read from the shapes.

        Raises:
            ValueError: the weights are not those of a SigLIP.
        """
        named = hugging_face_siglip(state)
        patches = named["vision_model.embeddings.patch_embedding.weight"]
        positions = len(named["vision_model.embeddings.position_embedding.weight"])
        config = SiglipVisionConfig(
            hidden_size=patches.shape[0],
            intermediate_size=len(named["vision_model.encoder.layers.0.mlp.fc1.bias"]),
            num_hidden_layers=count(named, r"vision_model\.encoder\.layers\.(\d+)\."),
            num_attention_heads=heads_of(patches.shape[0], facts.head_width),
            patch_size=patches.shape[-1],
            image_size=round(positions**0.5) * patches.shape[-1],
            vision_use_head=False,
        )
        return loaded(SiglipVisionModel, config, named)


def hugging_face_siglip(state: State) -> dict[str, torch.Tensor]:
    """Timm weights of a SigLIP ViT under the published names of `SiglipVisionModel`, without its pooling.

    Raises:
        ValueError: a name is unknown.
    """
    own = {name: value for name, value in image_tower(state).items() if not name.startswith(("attn_pool.", "head."))}
    projections = tuple(f"layers.#.self_attn.{part}_proj" for part in "qkv")
    named = {
        f"vision_model.{renamed(name, _NAMES, 'a timm SigLIP')}": value
        for name, value in unstacked(own, r"blocks\.(\d+)\.attn\.qkv\.(weight|bias)", projections).items()
    }
    key = "vision_model.embeddings.position_embedding.weight"
    return named | {key: named[key].flatten(0, -2)}


def _inner(model: Any) -> Any:
    """Some versions of transformers hold all that there is one module deeper."""
    return getattr(model, "vision_model", model)


register_encoder(Siglip())
