"""The vision transformer of CLIP: Hugging Face folders, whole or its image encoder alone, and checkpoints of OpenCLIP
and timm.

OpenCLIP's own transformer has names such as ``visual.transformer.resblocks.0.ln_1.weight``, timm's such as
``blocks.0.norm1.weight``; both stack queries, keys and values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from training.model.vision.encoder import CLIP, NO_FACTS, OriginalFacts, State, register_encoder
from training.model.vision.original_names import NameTable, count, heads_of, image_tower, loaded, renamed, unstacked
from training.model.vision.patches import PatchEncoder

_PROJECTIONS = tuple(f"layers.#.self_attn.{part}_proj" for part in "qkv")
_OPENCLIP: NameTable = (
    ("conv1.", "embeddings.patch_embedding."),
    ("positional_embedding", "embeddings.position_embedding.weight"),
    ("class_embedding", "embeddings.class_embedding"),
    ("ln_pre.", "pre_layrnorm."),
    ("ln_post.", "post_layernorm."),
    ("transformer.resblocks.#.attn.out_proj.", "encoder.layers.#.self_attn.out_proj."),
    ("transformer.resblocks.#.ln_#.", "encoder.layers.#.layer_norm#."),
    ("transformer.resblocks.#.mlp.c_fc.", "encoder.layers.#.mlp.fc1."),
    ("transformer.resblocks.#.mlp.c_proj.", "encoder.layers.#.mlp.fc2."),
    ("layers.#.", "encoder.layers.#."),
)
_TIMM: NameTable = (
    ("cls_token", "embeddings.class_embedding"),
    ("pos_embed", "embeddings.position_embedding.weight"),
    ("patch_embed.proj.", "embeddings.patch_embedding."),
    ("norm_pre.", "pre_layrnorm."),
    ("norm.", "post_layernorm."),
    ("blocks.#.norm#.", "encoder.layers.#.layer_norm#."),
    ("blocks.#.attn.proj.", "encoder.layers.#.self_attn.out_proj."),
    ("blocks.#.mlp.fc#.", "encoder.layers.#.mlp.fc#."),
    ("layers.#.", "encoder.layers.#."),
)


class ClipVit(PatchEncoder):
    """The ViT of CLIP (arXiv 2103.00020), with its norm on all tokens, as SPHINX taps it."""

    model_type = "clip_vision_model"
    model_class = CLIPVisionModel
    statistics = CLIP
    prefix_tokens = 1
    branch_ends = ("out_proj", "fc2")

    def patch_layer(self, model: Any) -> nn.Conv2d:
        """The convolution that makes patches."""
        return _inner(model).embeddings.patch_embedding

    def blocks(self, model: Any) -> Sequence[nn.Module]:
        """The transformer's blocks."""
        return _inner(model).encoder.layers

    def final_norm(self, model: Any) -> nn.Module:
        """The norm behind the last block, which CLIP itself gives its class token alone."""
        return _inner(model).post_layernorm

    def positions_TD(self, model: Any) -> torch.Tensor:
        """All but that of the class token."""
        return _inner(model).embeddings.position_embedding.weight[1:]

    def forward_options(self) -> dict[str, Any]:
        """Positions are interpolated only where that is asked for."""
        return {"interpolate_pos_encoding": True}

    def is_original(self, state: State) -> bool:
        """Names of OpenCLIP's own transformer, or timm's with a norm before the first block."""
        own = image_tower(state)
        return {"conv1.weight", "ln_pre.weight"} <= own.keys() or {"cls_token", "norm_pre.weight"} <= own.keys()

    def from_original(self, state: State, facts: OriginalFacts = NO_FACTS) -> nn.Module:
        """An OpenCLIP or timm checkpoint; all sizes are read from the shapes.

        Its activation is GELU, as OpenCLIP trains; whoever has weights with QuickGELU, OpenAI's among them, says so by
        a ``config.json`` or ``open_clip_config.json`` beside them.

        Raises:
            ValueError: the weights are not those of a CLIP ViT.
        """
        named = hugging_face_clip(state)
        patches = named["vision_model.embeddings.patch_embedding.weight"]
        positions = len(named["vision_model.embeddings.position_embedding.weight"]) - 1
        config = CLIPVisionConfig(
            hidden_size=patches.shape[0],
            intermediate_size=len(named["vision_model.encoder.layers.0.mlp.fc1.bias"]),
            num_hidden_layers=count(named, r"vision_model\.encoder\.layers\.(\d+)\."),
            num_attention_heads=heads_of(patches.shape[0], facts.head_width),
            patch_size=patches.shape[-1],
            image_size=round(positions**0.5) * patches.shape[-1],
            hidden_act="quick_gelu" if facts.quick_gelu else "gelu",
        )
        return loaded(CLIPVisionModel, config, named)


def hugging_face_clip(state: State) -> dict[str, torch.Tensor]:
    """OpenCLIP or timm weights of a CLIP ViT under the published names of `CLIPVisionModel`, without text tower, head
    and projection.

    Raises:
        ValueError: a name is unknown.
    """
    own = {name: value for name, value in image_tower(state).items() if not name.startswith(("head.", "fc_norm."))}
    own.pop("proj", None)
    if "conv1.weight" in own:
        pattern, table = r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)", _OPENCLIP
    else:
        pattern, table = r"blocks\.(\d+)\.attn\.qkv\.(weight|bias)", _TIMM
    named = {
        f"vision_model.{renamed(name, table, 'a CLIP ViT')}": value
        for name, value in unstacked(own, pattern, _PROJECTIONS).items()
    }
    for name in ("class_embedding", "position_embedding.weight"):
        key = f"vision_model.embeddings.{name}"
        named[key] = named[key].squeeze() if name == "class_embedding" else named[key].flatten(0, -2)
    return named


def _inner(model: Any) -> Any:
    """Some versions of transformers hold all that there is one module deeper."""
    return getattr(model, "vision_model", model)


register_encoder(ClipVit())
