"""What a model is, and what a recipe would train of it at what cost: what `mmrs inspect` prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmrs.errors import UserError
from mmrs.text import nearest
from training.config import TrainConfig
from training.model import EarthGPTConfig, EarthGPTForConditionalGeneration, preset
from training.model.accounting import activation_memory, cache_bytes, state_memory, step_flops
from training.model.folder import check_model_folder, sound_model
from training.model.language.bias_scale import tuned_vectors
from training.model.presets import PRESETS
from training.model.tuning.quantised import quantised_bytes
from training.stages.base import is_quantised
from training.stages.stage import FreezeRow, add_tuned_parameters, apply_stage, freeze_report
from training.step.adamw import bytes_per_parameter
from training.step.precision import frozen_dtype, trained_dtype

# LLaMA-2's, which the published parameter counts assume.
_VOCABULARY: dict[str, Any] = {
    "vocab_size": 32_000,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "image_token_id": 32_000,
}


def inspect(model: str, recipe: TrainConfig | None = None) -> str:
    """Parts and sizes, then the freeze report of the recipe's stage and what a pack of it costs. No weight is read.

    Args:
        model: a model folder, or the name of a preset, taken with LLaMA-2's vocabulary.
        recipe: without one, all is shown as frozen.

    Raises:
        UserError: no such model, or the stage does not fit it.
    """
    config = _configuration(model)
    with torch.device("meta"):
        built = EarthGPTForConditionalGeneration(config)
    nn.Module.to(built, config.dtype if isinstance(config.dtype, torch.dtype) else torch.float32)
    for vector in tuned_vectors(built).values():
        vector.data = vector.data.float()
    head = _head(model, config)
    if recipe is None:
        built.requires_grad_(False)
        rows = [FreezeRow(name, value, None) for name, value in built.named_parameters()]
        return "\n".join([*head, "", freeze_report(rows, depth=3), "", _cache(config)])
    add_tuned_parameters(built, recipe.stage, recipe.model.seed)
    rows = apply_stage(
        built, recipe.stage, frozen_dtype(built, torch.device(recipe.device)), trained_dtype(recipe.optimiser)
    )
    return "\n".join([*head, "", freeze_report(rows, depth=3), "", *_cost(built, recipe), _cache(config)])


def _configuration(model: str) -> EarthGPTConfig:
    if Path(model).is_dir():
        with sound_model(model):
            config = EarthGPTConfig.from_pretrained(check_model_folder(Path(model)))
            _head(model, config)
        return config
    if model not in PRESETS:
        raise UserError(
            f"{model} is neither a folder nor a preset{nearest(model, PRESETS)} ({', '.join(PRESETS)}). Make a folder "
            "with `mmrs init`, or give RUN/model."
        )
    return preset(model, **_VOCABULARY)


def _head(model: str, config: EarthGPTConfig) -> list[str]:
    lines = [f"{model}: {config.image_slots} positions per image, {config.grid} x {config.grid} cells"]
    for part in (config.origin or {}).get("parts", []):
        lines.append(f"{part['role']:3}  {part['origin']}  licence: {part['licence']}  weights {part['digest'][:12]}")
    for run in (config.origin or {}).get("training", []):
        lines.append(f"trained: {run['stage']}, {run['steps']} steps on data set {run['data_set_id'][:12]}")
    return lines


def _cost(model: EarthGPTForConditionalGeneration, recipe: TrainConfig) -> list[str]:
    """A pack with images for half of its positions, and an eighth of them targets; attention over the whole pack."""
    tokens = recipe.tokens_per_pack
    images, targets = max(1, tokens // 2 // model.config.image_slots), tokens // 8
    flops = step_flops(model, tokens, tokens**2, images, targets)
    state, weights = state_memory(model), ""
    trained = [value for value in model.parameters() if value.requires_grad]
    eight_bit = recipe.optimiser.moments == "8bit"
    of_state = sum(bytes_per_parameter(each.dtype, each.numel(), eight_bit) * each.numel() for each in trained)
    state = replace(state, moments=round(of_state))
    if is_quantised(recipe.stage) and recipe.stage.tuning is not None:
        linears = [model.get_submodule(path) for path in model.config.tuned_layers(head=False)]
        plain = sum(value.numel() * value.element_size() for layer in linears for value in _base_weights(layer))
        packed = quantised_bytes(model, recipe.stage.tuning.quantised)
        state = replace(state, weights=state.weights - plain + packed)
        weights = f" ({recipe.stage.tuning.quantised} {_gb(packed)})"
    lines = [
        f"a pack of {tokens} tokens with {images} images and {targets} targets: {flops.total / 1e12:.3g} TFLOP",
        f"state: weights {_gb(state.weights)}{weights}, gradients {_gb(state.gradients)}, AdamW {_gb(state.moments)}",
    ]
    if any(value.requires_grad for value in model.vision.parameters()):
        return lines
    dtype = frozen_dtype(model, torch.device(recipe.device)) or torch.float32
    for checkpointing in (False, True):
        kept = activation_memory(model, tokens, images, targets, dtype, checkpointing)
        how = "with activation checkpointing" if checkpointing else "kept"
        lines.append(f"activations of a pack, {how}: {_gb(sum(kept.values()))}")
    return lines


def _base_weights(layer: Any) -> list[torch.Tensor]:
    """The weight of a linear layer, of one with adapters too."""
    return [getattr(layer, "base_layer", layer).weight]


def _cache(config: EarthGPTConfig) -> str:
    image = cache_bytes(config, config.image_slots) / 1e6
    return f"generation keeps {cache_bytes(config, 1):,} bytes per position in bf16, {image:.3g} MB per image"


def _gb(count: int) -> str:
    return f"{count / 1e9:.3g} GB"
