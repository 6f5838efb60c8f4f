"""Names of the encoders' weights in the files that their authors publish, and in the Hugging Face form.

Two forms are read beside Hugging Face folders:

- OpenCLIP checkpoints with a timm ConvNeXt tower: ``visual.trunk.stem.0.weight`` and so on, beside a text tower;
- DINOv2 checkpoints of the original repository: ``blocks.0.attn.qkv.weight`` with queries, keys, values stacked.

Names on the Hugging Face side are those of published `ConvNextModel` and `Dinov2Model` files, which `from_pretrained`
maps on the names of the installed version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from transformers import ConvNextConfig, ConvNextModel, Dinov2Config, Dinov2Model

State = Mapping[str, torch.Tensor]

TRUNK = "visual.trunk."

# Beginnings of names, theirs and ours; # stands for a number.
_CONVNEXT = (
    ("stem.0.", "embeddings.patch_embeddings."),
    ("stem.1.", "embeddings.layernorm."),
    ("stages.#.downsample.#.", "encoder.stages.#.downsampling_layer.#."),
    ("stages.#.blocks.#.gamma", "encoder.stages.#.layers.#.layer_scale_parameter"),
    ("stages.#.blocks.#.conv_dw.", "encoder.stages.#.layers.#.dwconv."),
    ("stages.#.blocks.#.norm.", "encoder.stages.#.layers.#.layernorm."),
    ("stages.#.blocks.#.mlp.fc#.", "encoder.stages.#.layers.#.pwconv#."),
    ("head.norm.", "layernorm."),
)
_DINOV2 = (
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
_SPLIT = re.compile(r"encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)\.(weight|bias)")
_PARTS = ("query", "key", "value")


def convnext_to_hf(state: State) -> dict[str, torch.Tensor]:
    """OpenCLIP or bare timm ConvNeXt weights under the names of `ConvNextModel`.

    The text tower and the projection head of an OpenCLIP checkpoint are left out. A trunk without its final norm, as
    some exports have it, gets the neutral one.

    Raises:
        ValueError: a name of the trunk is unknown, or there is no trunk.
    """
    trunk = _trunk(state)
    if "stem.0.weight" not in trunk:
        raise ValueError(
            f"no ConvNeXt trunk: neither {TRUNK}stem.0.weight nor stem.0.weight is among {len(state)} names such as "
            f"{_some(state)}. Give an OpenCLIP ConvNeXt checkpoint or a timm ConvNeXt."
        )
    kept = {name: value for name, value in trunk.items() if not re.match(r"head\.(?!norm\.)", name)}
    renamed = {_renamed(name, _CONVNEXT, "a timm ConvNeXt"): value for name, value in kept.items()}
    if "layernorm.weight" not in renamed:
        width = renamed["encoder.stages.3.downsampling_layer.1.bias"]
        renamed |= {"layernorm.weight": torch.ones_like(width), "layernorm.bias": torch.zeros_like(width)}
    return renamed


def convnext_to_openclip(state: State) -> dict[str, torch.Tensor]:
    """The way back: `ConvNextModel` weights as ``visual.trunk.*``. Raises ValueError for an unknown name."""
    return {TRUNK + _renamed(name, _CONVNEXT, "a ConvNextModel", back=True): value for name, value in state.items()}


def dinov2_to_hf(state: State) -> dict[str, torch.Tensor]:
    """Weights of the original DINOv2 repository under the published names of `Dinov2Model`.

    The stacked ``attn.qkv`` rows are queries, keys, values in this order.

    Raises:
        ValueError: a name is unknown, or the model has register tokens, which `Dinov2Model` does not.
    """
    if "register_tokens" in state:
        raise ValueError("the checkpoint has register_tokens; give a DINOv2 without registers, such as dinov2_vitl14")
    renamed = {}
    for name, value in state.items():
        fused = _FUSED.fullmatch(name)
        if fused is None:
            renamed[_renamed(name, _DINOV2, "an original DINOv2")] = value
            continue
        for part, rows in zip(_PARTS, value.chunk(3), strict=True):
            renamed[f"encoder.layer.{fused[1]}.attention.attention.{part}.{fused[2]}"] = rows.contiguous()
    return renamed


def dinov2_to_hub(state: State) -> dict[str, torch.Tensor]:
    """The way back: published `Dinov2Model` weights under the original names. Raises ValueError for an unknown name."""
    renamed = {}
    for name, value in state.items():
        split = _SPLIT.fullmatch(name)
        if split is None:
            renamed[_renamed(name, _DINOV2, "a Dinov2Model", back=True)] = value
        elif split[2] == "query":
            parts = [f"encoder.layer.{split[1]}.attention.attention.{part}.{split[3]}" for part in _PARTS]
            missing = [part for part in parts if part not in state]
            if missing:
                raise ValueError(f"{missing[0]!r} is missing beside {name!r}; give all of a Dinov2Model's weights")
            renamed[f"blocks.{split[1]}.attn.qkv.{split[3]}"] = torch.cat([state[part] for part in parts])
    return renamed


def convnext_from(state: State) -> ConvNextModel:
    """`ConvNextModel` with the weights of an OpenCLIP or timm checkpoint; all sizes are read from the shapes.

    Raises:
        ValueError: the weights are not those of a ConvNeXt.
    """
    renamed = convnext_to_hf(state)
    stages = 1 + max(int(name.split(".")[2]) for name in renamed if name.startswith("encoder.stages."))
    layers = [_count(renamed, rf"encoder\.stages\.{stage}\.layers\.(\d+)\.") for stage in range(stages)]
    widths = [len(renamed[f"encoder.stages.{stage}.layers.0.dwconv.bias"]) for stage in range(stages)]
    config = ConvNextConfig(
        num_stages=stages,
        depths=layers,
        hidden_sizes=widths,
        patch_size=renamed["embeddings.patch_embeddings.weight"].shape[-1],
        layer_norm_eps=1e-6,
    )
    return _loaded(ConvNextModel, config, renamed)


def dinov2_from(state: State) -> Dinov2Model:
    """`Dinov2Model` with the weights of an original checkpoint; all sizes are read from the shapes.

    The head width is 64, as in every published DINOv2.

    Raises:
        ValueError: the weights are not those of a DINOv2.
    """
    renamed = dinov2_to_hf(state)
    patches = renamed["embeddings.patch_embeddings.projection.weight"]
    positions = renamed["embeddings.position_embeddings"].shape[1] - 1
    width, patch = patches.shape[0], patches.shape[-1]
    swiglu = "encoder.layer.0.mlp.weights_in.weight" in renamed
    ratio = 4 if swiglu else len(renamed["encoder.layer.0.mlp.fc1.bias"]) // width
    config = Dinov2Config(
        hidden_size=width,
        num_hidden_layers=_count(renamed, r"encoder\.layer\.(\d+)\."),
        num_attention_heads=max(1, width // 64),
        mlp_ratio=ratio,
        patch_size=patch,
        image_size=round(positions**0.5) * patch,
        use_swiglu_ffn=swiglu,
        use_mask_token="embeddings.mask_token" in renamed,
    )
    return _loaded(Dinov2Model, config, renamed)


def _trunk(state: State) -> State:
    if f"{TRUNK}stem.0.weight" not in state:
        return state
    return {name.removeprefix(TRUNK): value for name, value in state.items() if name.startswith(TRUNK)}


def _renamed(name: str, table: tuple[tuple[str, str], ...], what: str, back: bool = False) -> str:
    for theirs, ours in table:
        source, target = (ours, theirs) if back else (theirs, ours)
        match = re.match(re.escape(source).replace(r"\#", r"(\d+)"), name)
        if match:
            for number in match.groups():
                target = target.replace("#", number, 1)
            return target + name[match.end() :]
    raise ValueError(f"{name!r} is no weight of {what}; give an unchanged checkpoint of one")


def _count(state: State, pattern: str) -> int:
    return 1 + max(int(match[1]) for match in (re.match(pattern, name) for name in state) if match)


def _loaded(kind: type, config, state: dict[str, torch.Tensor]):
    model, report = kind.from_pretrained(None, config=config, state_dict=state, output_loading_info=True)
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report[problem]:
            raise ValueError(
                f"{kind.__name__} does not fit the checkpoint: {problem.replace('_', ' ')} such as "
                f"{sorted(map(str, report[problem]))[0]}; give an unchanged checkpoint"
            )
    return model


def _some(state: State) -> str:
    return ", ".join(sorted(state)[:3])
