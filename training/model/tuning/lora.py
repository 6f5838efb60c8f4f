"""Low-rank adaptation (arXiv 2106.09685) of linear layers of every block of the decoder, through `peft`.

The alternative to the paper's bias+scale tuning: y = W x + (alpha / rank) B A x, with B = 0 at the start; DoRA, rsLoRA
and a quantised W are a choice. A run saves
the adapter in peft's own form, and a model into whose weights it is merged.
"""

from __future__ import annotations

import copy
import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from mmrs.errors import UserError
from mmrs.installation import install_command
from mmrs.text import nearest
from training.model.language.decoder import Decoder
from training.model.modeling.generation import EarthGPTForConditionalGeneration
from training.model.tuning.quantised import dequantised

ADAPTER = "default"


@dataclass(frozen=True)
class LoraOptions:
    """Form of the adapters; `targets` are words of `target_layers` or ends of names of layers."""

    rank: int
    alpha: float
    dropout: float = 0.0
    targets: tuple[str, ...] = ("all",)
    dora: bool = False
    rank_stabilised: bool = False


def target_layers(decoder: Decoder, targets: Sequence[str]) -> tuple[str, ...]:
    """Names of the layers of a block that get adapters, in the order of the block.

    Raises:
        ValueError: a word is none of "all", "attention", "attention-inputs", "mlp", nor the end of a layer's name.
    """
    linears = decoder.linears
    words = {
        "all": linears.all,
        "attention": (*linears.attention_inputs, linears.attention_output),
        "attention-inputs": linears.attention_inputs,
        "mlp": linears.mlp,
    }
    chosen: set[str] = set()
    for target in targets:
        found = words.get(target, tuple(name for name in linears.all if name.rpartition(".")[2] == target))
        if not found:
            layers = [name.rpartition(".")[2] for name in linears.all]
            raise ValueError(
                f"targets: a {decoder.model_type} has no {target!r}{nearest(target, [*words, *layers])}; choose among "
                f"{', '.join([*words, *layers])}"
            )
        chosen.update(found)
    return tuple(name for name in linears.all if name in chosen)


def add_lora(model: EarthGPTForConditionalGeneration, options: LoraOptions, seed: int) -> None:
    """Give a model adapters that leave its outputs unchanged; their random weights are a function of `seed`.

    The layer ``...q_proj`` becomes ``...q_proj.base_layer`` beside ``...q_proj.lora_A.default`` and ``lora_B``, and
    with DoRA ``lora_magnitude_vector``.

    Raises:
        UserError: peft is not installed.
        ValueError: the model has adapters or tuning vectors already, or no such layers.
    """
    if importlib.util.find_spec("peft") is None:
        raise UserError(f"stage.tuning.kind is lora, which needs peft. Install it: {install_command('peft')}")
    from peft import LoraConfig, inject_adapter_in_model

    if has_lora(model):
        raise ValueError("the model has adapters; train from a base, or from OUT/model of a run, which has them merged")
    if model.config.tuning is not None:
        raise ValueError(f"the model is tuned with tuning={model.config.tuning!r}; call fold(model) first")
    layers = "|".join(map(re.escape, target_layers(model.config.decoder_kind, options.targets)))
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,  # type: ignore[arg-type]  # any number will do
        lora_dropout=options.dropout,
        use_dora=options.dora,
        use_rslora=options.rank_stabilised,
        target_modules=rf"model\.language_model\.layers\.\d+\.({layers})",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model, ADAPTER)


def has_lora(model: nn.Module) -> bool:
    """Whether the model has adapters."""
    return any(".lora_A." in name for name, _ in model.named_parameters())


def save_adapter(
    folder: Path, model: EarthGPTForConditionalGeneration, state: Mapping[str, torch.Tensor], base: str
) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors``, which `PeftModel.from_pretrained` loads.

    Args:
        folder: exists.
        state: the model's state with whole tensors.
        base: folder or hub name of the base, as the adapter will name it.
    """
    config = copy.deepcopy(model.peft_config[ADAPTER])
    config.base_model_name_or_path, config.inference_mode = base, True
    config.save_pretrained(folder)
    # peft keeps a magnitude as a module of one weight, and writes it as a tensor.
    tensors = {
        "base_model.model."
        + name.replace(f".{ADAPTER}.", ".").replace("_magnitude_vector.weight", "_magnitude_vector"): value.detach()
        .cpu()
        .contiguous()
        for name, value in state.items()
        if ".lora_" in name
    }
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


@torch.no_grad()
def merged_state(model: EarthGPTForConditionalGeneration, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state of the model without adapters, computed in fp32, in the dtype of the base.

    W' = W + (alpha / rank) B A, and with DoRA each row of that brought to the length that was learnt. Quantised layers
    get the weights that they computed with.

    Args:
        state: the model's state with whole tensors.
    """
    config: Any = model.peft_config[ADAPTER]
    scale = config.lora_alpha / (config.r**0.5 if config.use_rslora else config.r)
    dtype = model.projector.start.dtype
    merged = {}
    for name, value in state.items():
        # What a quantised weight keeps beside it has names below the weight's.
        if ".lora_" in name or ".weight." in name:
            continue
        layer = name.removesuffix(".weight")
        if layer != name and not value.is_floating_point():
            value = dequantised(model.get_submodule(layer)).to(dtype)
        layer = layer.removesuffix(".base_layer")
        if f"{layer}.base_layer.weight" == name:
            down, up = (state[f"{layer}.lora_{part}.{ADAPTER}.weight"].float() for part in "AB")
            total = value.float() + scale * (up @ down)
            if config.use_dora:
                length_O = state[f"{layer}.lora_magnitude_vector.{ADAPTER}.weight"].float()
                total *= (length_O / total.norm(dim=1))[:, None]
            value = total.to(value.dtype)
        merged[name.replace(".base_layer.", ".")] = value
    return merged
