"""The vision transformer of CLIP: Hugging Face folders, whole or its image encoder alone, and checkpoints of OpenCLIP
and timm.

OpenCLIP's own transformer has names such as ``visual.transformer.resblocks.0.ln_1.weight``, timm's such as
``blocks.0.norm1.weight``; both stack queries, keys and values.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from training.model.vision.clip_form import PROJECTIONS, ClipFormEncoder, flat_positions
from training.model.vision.encoder import CLIP, NO_FACTS, OriginalFacts, State, register_encoder
from training.model.vision.original_names import NameTable, image_tower, loaded, renamed, unstacked

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


class ClipVit(ClipFormEncoder):
    """The ViT of CLIP (arXiv 2103.00020), with its norm on all tokens, as SPHINX taps it."""

    model_type = "clip_vision_model"
    model_class = CLIPVisionModel
    statistics = CLIP
    prefix_tokens = 1

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
        config = CLIPVisionConfig(**self.sizes(named, facts), hidden_act="quick_gelu" if facts.quick_gelu else "gelu")
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
        for name, value in unstacked(own, pattern, PROJECTIONS).items()
    }
    key = "vision_model.embeddings.class_embedding"
    return flat_positions(named) | {key: named[key].squeeze()}


register_encoder(ClipVit())
