"""The image encoder of SigLIP and of SigLIP 2 of fixed resolution: Hugging Face folders, whole or its image encoder
alone, and checkpoints of timm and of OpenCLIP around it."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn
from transformers import SiglipVisionConfig, SiglipVisionModel

from training.model.vision.clip_form import PROJECTIONS, ClipFormEncoder, flat_positions, inner
from training.model.vision.encoder import HALF, NO_FACTS, OriginalFacts, State, register_encoder
from training.model.vision.original_names import image_tower, loaded, renamed, unstacked

_NAMES = (
    ("pos_embed", "embeddings.position_embedding.weight"),
    ("patch_embed.proj.", "embeddings.patch_embedding."),
    ("norm.", "post_layernorm."),
    ("blocks.#.norm#.", "encoder.layers.#.layer_norm#."),
    ("blocks.#.attn.proj.", "encoder.layers.#.self_attn.out_proj."),
    ("blocks.#.mlp.fc#.", "encoder.layers.#.mlp.fc#."),
    ("layers.#.", "encoder.layers.#."),
)


class Siglip(ClipFormEncoder):
    """SigLIP ViT (arXiv 2303.15343), without a class token."""

    model_type = "siglip_vision_model"
    model_class: ClassVar[type] = SiglipVisionModel
    statistics = HALF

    def trim(self, model: Any) -> None:
        """Without the head that pools the patches into one vector."""
        tower = inner(model)
        model.config.vision_use_head = tower.use_head = False
        if hasattr(tower, "head"):
            del tower.head

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
        config = SiglipVisionConfig(**self.sizes(named, facts), vision_use_head=False)
        return loaded(SiglipVisionModel, config, named)


def hugging_face_siglip(state: State) -> dict[str, torch.Tensor]:
    """Timm weights of a SigLIP ViT under the published names of `SiglipVisionModel`, without its pooling.

    Raises:
        ValueError: a name is unknown.
    """
    own = {name: value for name, value in image_tower(state).items() if not name.startswith(("attn_pool.", "head."))}
    named = {
        f"vision_model.{renamed(name, _NAMES, 'a timm SigLIP')}": value
        for name, value in unstacked(own, r"blocks\.(\d+)\.attn\.qkv\.(weight|bias)", PROJECTIONS).items()
    }
    return flat_positions(named)


register_encoder(Siglip())
