"""DINOv2 without registers: Hugging Face folders, and checkpoints of the original repository.

The latter have names such as ``blocks.0.attn.qkv.weight``, with queries, keys and values stacked. Names on the Hugging
Face side are those of published `Dinov2Model` files, which `from_pretrained` maps on those of the installed version.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import Dinov2Config, Dinov2Model

from training.model.vision.encoder import IMAGENET, State, register_encoder
from training.model.vision.original_names import count, loaded, renamed
from training.model.vision.patches import PatchEncoder

_NAMES = (
    ("cls_token", "embeddings.cls_token"),
    ("mask_token", "embeddings.mask_token"),
    ("pos_embed", "embeddings.position_embeddings"),
    ("patch_embed.proj.", "embeddings.patch_embeddings.projection."),
    ("blocks.#.norm#.", "encoder.layer.#.norm#."),
    ("blocks.#.attn.proj.", "encoder.layer.#.attention.output.dense."),
    ("blocks.#.ls#.gamma", "encoder.layer.#.layer_scale#.lambda1"),
    ("blocks.#.mlp.fc#.", "encoder.layer.#.mlp.fc#."),
    ("blocks.#.mlp.w12.", "encoder.layer.#.mlp.weights_in."),
    ("blocks.#.mlp.w3.", "encoder.layer.#.mlp.weights_out."),
    ("norm.", "layernorm."),
)
_FUSED = re.compile(r"blocks\.(\d+)\.attn\.qkv\.(weight|bias)")
_HEAD_WIDTH = 64


class Dinov2(PatchEncoder):
    """DINOv2 ViT (arXiv 2304.07193): the paper's first encoder."""

    model_type = "dinov2"
    model_class = Dinov2Model
    statistics = IMAGENET
    prefix_tokens = 1
    branch_ends = ("o_proj", "fc2")

    def trim(self, model: Any) -> None:
        """Without the mask token."""
        model.config.use_mask_token = False
        model.embeddings.mask_token = None

    def patch_layer(self, model: Any) -> nn.Conv2d:
        """The convolution that makes patches."""
        return model.embeddings.patch_embeddings.projection

    def blocks(self, model: Any) -> Sequence[nn.Module]:
        """The transformer's blocks."""
        return model.encoder.layer

    def final_norm(self, model: Any) -> nn.Module:
        """The norm behind the last block."""
        return model.layernorm

    def positions_TD(self, model: Any) -> torch.Tensor:
        """All but that of the class token."""
        return model.embeddings.position_embeddings[0, 1:]

    def from_original(self, state: State) -> nn.Module:
        """A checkpoint of the original repository; all sizes are read from the shapes, heads are 64 wide as in every
        published DINOv2.

        Raises:
            ValueError: the weights are not those of a DINOv2, or it has registers.
        """
        named = hugging_face_state(state)
        patches = named["embeddings.patch_embeddings.projection.weight"]
        positions = named["embeddings.position_embeddings"].shape[1] - 1
        width, patch = patches.shape[0], patches.shape[-1]
        swiglu = "encoder.layer.0.mlp.weights_in.weight" in named
        config = Dinov2Config(
            hidden_size=width,
            num_hidden_layers=count(named, r"encoder\.layer\.(\d+)\."),
            num_attention_heads=max(1, width // _HEAD_WIDTH),
            mlp_ratio=4 if swiglu else len(named["encoder.layer.0.mlp.fc1.bias"]) // width,
            patch_size=patch,
            image_size=round(positions**0.5) * patch,
            use_swiglu_ffn=swiglu,
            use_mask_token="embeddings.mask_token" in named,
        )
        return loaded(Dinov2Model, config, named)


def hugging_face_state(state: State) -> dict[str, torch.Tensor]:
    """Weights of the original repository under the published names of `Dinov2Model`.

    Raises:
        ValueError: a name is unknown, or there are register tokens, which `Dinov2Model` has not.
    """
    if "register_tokens" in state:
        raise ValueError("the checkpoint has register_tokens; give a DINOv2 without registers, such as dinov2_vitl14")
    named = {}
    for name, value in state.items():
        fused = _FUSED.fullmatch(name)
        if fused is None:
            named[renamed(name, _NAMES, "an original DINOv2")] = value
            continue
        for part, rows in zip(("query", "key", "value"), value.chunk(3), strict=True):
            named[f"encoder.layer.{fused[1]}.attention.attention.{part}.{fused[2]}"] = rows.contiguous()
    return named


register_encoder(Dinov2())
