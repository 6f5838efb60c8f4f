"""What a run leaves, at its end or at any checkpoint: a model folder, and with LoRA the adapter too."""

from __future__ import annotations

import copy
import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

import torch

from mmrs.errors import UserError
from mmrs.storage.atomic import atomic_folder, file_sha256
from mmrs.text import removal
from training.config import StageConfig, TrainConfig, load_config
from training.data.planning.pointer import Position
from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor
from training.model.folder import check_model_folder
from training.model.origin.notes import note_training
from training.model.tuning.lora import has_lora, merged_state, save_adapter
from training.run.checkpoint import DONE, read_trainable
from training.stages.base import is_quantised, load_base
from training.stages.initial_model import read_start_model
from training.stages.stage import add_tuned_parameters, apply_stage
from training.step.precision import trained_dtype
from training.step.sharding import full_state

_ORIGIN = "training.json"
_ADAPTER = "adapter_config.json"


def origin_of(config: TrainConfig, position: Position, base_digest: str, run: Path) -> dict[str, Any]:
    """Whatever tells results apart: what ``model/training.json`` holds. The box dialects of the data are those of
    ``RUN/plan.json``, which tars of others do not know."""
    plan = run / "plan.json"
    return {
        "dialects": json.loads(plan.read_text()).get("dialects", []) if plan.is_file() else [],
        "steps": position.step,
        "samples": position.pointer.samples,
        "data_set_id": position.pointer.settings.data_set_id,
        "base_digest": base_digest,
        "stage": config.stage.model_dump(mode="json"),
    }


def export_checkpoint(checkpoint: Path, out: Path) -> Path:
    """Write the model of one checkpoint of a run in the form of the run's result: ``OUT/model``.

    Args:
        checkpoint: such as ``RUN/checkpoints/step-00000100``; the run's base must be where its configuration says.

    Raises:
        UserError: no checkpoint of a run, another base, or `out` is in the way.
        RunFailure: the checkpoint is damaged.
    """
    run = checkpoint.absolute().parent.parent
    if not (checkpoint / DONE).is_file() or not (run / "config.yaml").is_file():
        raise UserError(
            f"{checkpoint} is no checkpoint of a run. Give a folder such as RUN/checkpoints/step-00000100; "
            f"`ls {shlex.quote(str(checkpoint.parent))}` shows those that are there."
        )
    if (out / "model").exists():
        raise UserError(f"{out / 'model'} exists already. Choose another folder, or: {removal(out / 'model')}")
    config = load_config(run / "config.yaml")
    base = check_model_folder(config.model.path or run / "model-init", "the run's base")
    digest = folder_digest(base)
    model = load_base(base, config.stage, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    add_tuned_parameters(model, config.stage, config.model.seed)
    rows = apply_stage(model, config.stage, trained_dtype=trained_dtype(config.optimiser))
    parameters = {row.name: row.parameter for row in rows if row.learning_rate is not None}
    position, trained = read_trainable(checkpoint, parameters, config, digest)
    with torch.no_grad():
        for name, tensor in trained.items():
            parameters[name].copy_(tensor)
    state = full_state(model)
    processor = read_start_model(base, config.model.dialogue).processor
    model.end_answers_with(processor.tokenizer.eos_token_id)
    origin = origin_of(config, position, digest, run)
    save_result(out, model, state, processor, config.stage, base, origin)
    return out / "model"


def folder_digest(folder: Path) -> str:
    """sha256 over names and contents of the files of a model folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


def is_saved(folder: Path, origin: dict[str, Any]) -> bool:
    """Whether `folder` holds the result of this very run."""
    path = folder / _ORIGIN
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
        origin: steps, samples, data_set_id, dialects, all that tells results apart; becomes ``model/training.json``.
    """
    run = {
        "stage": stage.name,
        "tuning": stage.tuning.kind if stage.tuning else None,
        "trained_parameters": sum(value.numel() for value in model.parameters() if value.requires_grad),
        **{name: origin[name] for name in ("steps", "samples", "data_set_id", "dialects")},
    }
    if has_lora(model):
        with atomic_folder(out / "adapter", lambda there: (there / _ADAPTER).is_file()) as temporary:
            save_adapter(temporary, model, state, str(base))
        state = merged_state(model, state)
    if is_quantised(stage):
        model = _unquantised(model, state)
    note_training(model.config, run)
    with atomic_folder(out / "model", lambda there: (there / _ORIGIN).is_file()) as temporary:
        model.save_pretrained(temporary, state_dict=state)
        processor.save_pretrained(temporary)
        (temporary / _ORIGIN).write_text(json.dumps(origin, indent=2, allow_nan=False) + "\n")


def _unquantised(
    model: EarthGPTForConditionalGeneration, state: dict[str, torch.Tensor]
) -> EarthGPTForConditionalGeneration:
    """A plain model of the same configuration that holds `state`, to be saved."""
    config = copy.deepcopy(model.config)
    del config.quantization_config
    config.dtype = model.projector.start.dtype
    with torch.device("meta"):
        plain = EarthGPTForConditionalGeneration(config)
    plain.load_state_dict(state, assign=True)
    plain.tie_weights()
    return plain
