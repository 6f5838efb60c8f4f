"""Low-rank adaptation (arXiv 2106.09685) of the linear layers of every block of the decoder, through `peft`.

The alternative to the paper's bias+scale tuning: y = W x + (alpha / rank) B A x, with B = 0 at the start. A run saves
the adapter in peft's own form, and a model into whose weights it is merged.
"""

from __future__ import annotations

import copy
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from mmrs.errors import UserError
from mmrs.installation import install_command
from training.model.modeling import EarthGPTForConditionalGeneration

ADAPTER = "default"


def add_lora(model: EarthGPTForConditionalGeneration, rank: int, alpha: float, dropout: float, seed: int) -> None:
    """Give a model adapters that leave its outputs unchanged; their random weights are a function of `seed`.

    The layer ``...q_proj`` becomes ``...q_proj.base_layer`` beside ``...q_proj.lora_A.default`` and ``lora_B``.

    Raises:
        UserError: peft is not installed.
        ValueError: the model has adapters or tuning vectors already.
    """
    if importlib.util.find_spec("peft") is None:
        raise UserError(f"stage.tuning.kind is lora, which needs peft. Install it: {install_command('peft')}")
    from peft import LoraConfig, inject_adapter_in_model

    if has_lora(model):
        raise ValueError("the model has adapters; train from a base, or from OUT/model of a run, which has them merged")
    if model.config.tuning is not None:
        raise ValueError(f"the model is tuned with tuning={model.config.tuning!r}; call fold(model) first")
    targets = "|".join(map(re.escape, model.config.decoder_kind.linears.all))
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # any number will do
        lora_dropout=dropout,
        target_modules=rf"model\.language_model\.layers\.\d+\.({targets})",
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
    tensors = {
        "base_model.model." + name.replace(f".{ADAPTER}.", "."): value.detach().cpu().contiguous()
        for name, value in state.items()
        if ".lora_" in name
    }
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


@torch.no_grad()
def merged_state(model: EarthGPTForConditionalGeneration, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state of the model without adapters: W' = W + (alpha / rank) B A, computed in fp32, in the dtype of W.

    Args:
        state: the model's state with whole tensors.
    """
    config: Any = model.peft_config[ADAPTER]
    merged = {}
    for name, value in state.items():
        if ".lora_" in name:
            continue
        layer = name.removesuffix(".base_layer.weight")
        if layer != name:
            down, up = (state[f"{layer}.lora_{part}.{ADAPTER}.weight"].float() for part in "AB")
            value = (value.float() + config.lora_alpha / config.r * (up @ down)).to(value.dtype)
        merged[name.replace(".base_layer.", ".")] = value
    return merged
