"""What a finished run leaves: a model folder, and with LoRA the adapter too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from mmrs.files import atomic_folder
from training.config import StageConfig
from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor
from training.model.lora import has_lora, merged_state, save_adapter
from training.model.origin import note_training

ORIGIN = "training.json"


def is_saved(folder: Path, origin: dict[str, Any]) -> bool:
    """Whether `folder` holds the result of this very run."""
    path = folder / ORIGIN
    return path.is_file() and json.loads(path.read_text()) == origin


def save_result(
    out: Path,
    model: EarthGPTForConditionalGeneration,
    state: dict[str, torch.Tensor],
    processor: EarthGPTProcessor,
    stage: StageConfig,
    base: Path,
    origin: dict[str, Any],
) -> None:
    """Write ``OUT/model``.

    Tuning vectors stay vectors, so that a next run can go on with them; `mmrs export-model` folds them. Adapters go to
    ``OUT/adapter`` in peft's form, and ``OUT/model`` has them merged into its weights.

    Args:
        state: the model's state with whole tensors.
        base: folder that the run started from.
        origin: steps, samples, data_set_id and whatever else tells results apart; becomes ``model/training.json``.
    """
    run = {
        "stage": stage.name,
        "tuning": stage.tuning.kind if stage.tuning else None,
        "trained_parameters": sum(value.numel() for value in model.parameters() if value.requires_grad),
        **{name: origin[name] for name in ("steps", "samples", "data_set_id")},
    }
    if has_lora(model):
        with atomic_folder(out / "adapter") as temporary:
            save_adapter(temporary, model, state, str(base))
        state = merged_state(model, state)
    note_training(model, run)
    with atomic_folder(out / "model") as temporary:
        model.save_pretrained(temporary, state_dict=state)
        processor.save_pretrained(temporary)
        (temporary / ORIGIN).write_text(json.dumps(origin, indent=2) + "\n")
