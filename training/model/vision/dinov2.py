"""DINOv2 without and with registers: Hugging Face folders, and checkpoints of the original repository and of timm.

The latter have names such as ``blocks.0.attn.qkv.weight``, with queries, keys and values stacked. Names on the Hugging
Face side are those of published `Dinov2Model` files, which `from_pretrained` maps on those of the installed version.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

from training.model.vision.encoder import IMAGENET, NO_FACTS, OriginalFacts, State, register_encoder
from training.model.vision.original_names import count, heads_of, loaded, renamed, unstacked
from training.model.vision.patches import PatchEncoder, drop_mask_token

_NAMES = (
    ("cls_token", "embeddings.cls_token"),
    ("mask_token", "embeddings.mask_token"),
    ("register_tokens", "embeddings.register_tokens"),
    ("pos_embed", "embeddings.position_embeddings"),
    ("patch_embed.proj.", "embeddings.patch_embeddings.projection."),
    ("blocks.#.norm#.", "encoder.layer.#.norm#."),
    ("blocks.#.attn.proj.", "encoder.layer.#.attention.output.dense."),
    ("blocks.#.ls#.gamma", "encoder.layer.#.layer_scale#.lambda1"),
    ("blocks.#.mlp.fc#.", "encoder.layer.#.mlp.fc#."),
    ("blocks.#.mlp.w12.", "encoder.layer.#.mlp.weights_in."),
    ("blocks.#.mlp.w3.", "encoder.layer.#.mlp.weights_out."),
    ("norm.", "layernorm."),
    ("encoder.layer.#.", "encoder.layer.#."),
)


class Dinov2(PatchEncoder):
    """DINOv2 ViT (arXiv 2304.07193): the paper's first encoder."""

    model_type = "dinov2"
    model_class: ClassVar[type] = Dinov2Model
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

    def is_original(self, state: State) -> bool:
        """A scale behind each branch, and a class token without registers."""
        return _is_dinov2(state) and not {"register_tokens", "reg_token"} & state.keys()

    def from_original(self, state: State, facts: OriginalFacts = NO_FACTS) -> nn.Module:
        """A checkpoint of the original repository or of timm; all sizes are read from the shapes.

        Raises:
            ValueError: the weights are not those of a DINOv2.
        """
        return _loaded(state, Dinov2Model, Dinov2Config, use_mask_token="mask_token" in state)


class Dinov2WithRegisters(Dinov2):
    """DINOv2 with registers (arXiv 2309.16588), which stand between the class token and the patches."""

    model_type = "dinov2_with_registers"
    model_class = Dinov2WithRegistersModel

    def build(self, config: Any, attention: str) -> nn.Module:
        """Without the mask token, which no field of its configuration leaves out."""
        model = super().build(config, attention)
        self.trim(model)
        return model

    def trim(self, model: Any) -> None:
        """Without the mask token."""
        drop_mask_token(model.embeddings)

    def leading_tokens(self, config: Any) -> int:
        """A class token and the registers."""
        return 1 + config.num_register_tokens

    def is_original(self, state: State) -> bool:
        """A DINOv2 with register tokens."""
        return _is_dinov2(state) and bool({"register_tokens", "reg_token"} & state.keys())

    def from_original(self, state: State, facts: OriginalFacts = NO_FACTS) -> nn.Module:
        """As of `Dinov2`."""
        named = hugging_face_state(state)
        registers = named["embeddings.register_tokens"].shape[1]
        # Its class has the token whether a checkpoint does or not.
        filled = {"mask_token": torch.zeros(1, named["embeddings.cls_token"].shape[-1])} | dict(state)
        return _loaded(filled, Dinov2WithRegistersModel, Dinov2WithRegistersConfig, num_register_tokens=registers)


def _is_dinov2(state: State) -> bool:
    return {"cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.ls1.gamma"} <= state.keys()


def _loaded(state: State, kind: Any, config_kind: Any, **fields: Any) -> nn.Module:
    named = hugging_face_state(state)
    patches = named["embeddings.patch_embeddings.projection.weight"]
    positions = named["embeddings.position_embeddings"].shape[1] - 1
    width, patch = patches.shape[0], patches.shape[-1]
    swiglu = "encoder.layer.0.mlp.weights_in.weight" in named
    config = config_kind(
        hidden_size=width,
        num_hidden_layers=count(named, r"encoder\.layer\.(\d+)\."),
        num_attention_heads=heads_of(width, None),
        mlp_ratio=4 if swiglu else len(named["encoder.layer.0.mlp.fc1.bias"]) // width,
        patch_size=patch,
        image_size=round(positions**0.5) * patch,
        use_swiglu_ffn=swiglu,
        **fields,
    )
    return loaded(kind, config, named)


def hugging_face_state(state: State) -> dict[str, torch.Tensor]:
    """Weights of the original repository or of timm under the published names of `Dinov2Model`.

    timm calls registers and gated layers otherwise, and with registers adds the class token's position to the token.

    Raises:
        ValueError: a name is unknown.
    """
    state = dict(state)
    if "reg_token" in state:
        state["register_tokens"] = state.pop("reg_token")
        positions_1TD = state["pos_embed"]
        state["pos_embed"] = torch.cat((torch.zeros_like(positions_1TD[:, :1]), positions_1TD), dim=1)
    parts = tuple(f"encoder.layer.#.attention.attention.{part}" for part in ("query", "key", "value"))
    own = unstacked(state, r"blocks\.(\d+)\.attn\.qkv\.(weight|bias)", parts)
    first, second = (state.get(f"blocks.0.mlp.fc{number}.weight") for number in (1, 2))
    if first is not None and second is not None and len(first) == 2 * second.shape[1]:
        own = {name.replace(".mlp.fc1.", ".mlp.w12.").replace(".mlp.fc2.", ".mlp.w3."): own[name] for name in own}
    return {renamed(name, _NAMES, "an original DINOv2"): value for name, value in own.items()}


register_encoder(Dinov2())
register_encoder(Dinov2WithRegisters())
