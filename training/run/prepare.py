"""What a run has before its first step: its data, its model as the stage trains it, and the place where it goes on.

`open_run` reads configuration, indexes and tokenizer; `prepare_run` then loads weights and the newest checkpoint. What
differs between data sets of mmrs and tars of others is decided in `open_run` and nowhere after it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from mmrs.errors import UserError
from mmrs.progress import Progress
from mmrs.storage.atomic import write_atomic
from training.config import TrainConfig, check_resume_bound_fields, resume_bound_fields
from training.data.open import open_training_selection, plan_stream
from training.data.planning.pointer import Pointer, Position
from training.data.stream import Stream
from training.data.webdataset import open_webdataset
from training.run.checkpoint import initialise_state, latest_checkpoint, load_checkpoint
from training.run.final_model import folder_digest
from training.run.held_out import HeldOut, open_held_out
from training.run.signals import StopRequest
from training.stages.base import is_quantised, load_base
from training.stages.initial_model import StartModel, make_start_model, read_start_model
from training.stages.stage import FreezeRow, add_tuned_parameters, apply_stage, freeze_report
from training.step.objective.auxiliary import HEADS, AuxiliaryHeads
from training.step.objective.balance import check_loss_tasks
from training.step.objective.coordinates import coordinate_targets
from training.step.optim import build_optimiser
from training.step.precision import frozen_dtype, trained_dtype
from training.step.ranks import Ranks
from training.step.sharding import current_rows, parallelize
from training.step.step import TargetLabels, Training

MODEL_FIELDS = "model."


@dataclass(frozen=True)
class RunContext:
    """What every part of a run is handed: the configuration, this rank, where to report, and the signals so far."""

    config: TrainConfig
    ranks: Ranks
    progress: Progress
    stop: StopRequest


@dataclass(frozen=True)
class OpenedRun:
    """The model that a run starts from, without its weights, and what it reads."""

    start_model: StartModel
    stream: Stream


@dataclass(frozen=True)
class PreparedRun:
    """A run that can begin or go on at `start`. `base_digest` is that of the files it started from."""

    training: Training
    stream: Stream
    start: Position
    start_model: StartModel
    base_digest: str
    held_out: HeldOut | None

    @property
    def out(self) -> Path:
        return self.training.config.out

    @property
    def checkpoints(self) -> Path:
        return self.out / "checkpoints"


def open_run(context: RunContext) -> OpenedRun:
    """Open the data and the model that the configuration names; a collective.

    What is known of the data is printed and saved as ``OUT/plan.json``; an earlier one must be of the same stream and
    the same preset.

    Raises:
        UserError: data, model folder and configuration do not fit together.
        RunFailure: a record cannot be read.
    """
    opened = context.ranks.first_then_all(lambda: _open(context))
    if context.ranks.is_first:
        for line in opened.stream.describe():
            context.progress.line(line)
    return opened


def prepare_run(context: RunContext, opened: OpenedRun) -> PreparedRun:
    """Load the model, freeze what the stage does not train, lay it out over the ranks, load the newest checkpoint.

    Raises:
        UserError: stage and model do not fit, or the checkpoint belongs to another configuration or base.
        RunFailure: the checkpoint is damaged.
    """
    config, ranks, start_model, stream = context.config, context.ranks, opened.start_model, opened.stream
    check_loss_tasks(config.loss, stream.tasks)
    model = load_base(start_model.folder, config.stage, ranks.device)
    model.end_answers_with(start_model.processor.tokenizer.eos_token_id)
    add_tuned_parameters(model, config.stage, config.model.seed)
    rows = apply_stage(model, config.stage, frozen_dtype(model, ranks.device), trained_dtype(config.optimiser))
    if not is_quantised(config.stage):
        nn.Module.to(model, ranks.device)
    context.progress.line(freeze_report(rows, depth=3))
    held_out = ranks.first_then_all(lambda: open_held_out(config, start_model, ranks, context.progress))
    prepared = parallelize(model, config.parallel, ranks)
    heads = None
    if config.auxiliary is not None:
        heads = AuxiliaryHeads(model.config.text.hidden_size, model.lm_head.out_features).to(ranks.device)
    optimiser = build_optimiser([*current_rows(rows, model), *head_rows(heads, config)], config.optimiser)
    if heads is not None:
        initialise_state(optimiser)
    base_digest = folder_digest(start_model.folder)
    vocabulary = model.lm_head.out_features
    coordinates = coordinate_targets(config.loss, start_model.processor.tokenizer, vocabulary, ranks.device)
    labels = TargetLabels(stream.tasks, stream.sensors)
    return PreparedRun(
        training=Training(config, model, optimiser, labels, ranks, prepared, heads, coordinates),
        stream=stream,
        start=_start(context, stream, optimiser, base_digest),
        start_model=start_model,
        base_digest=base_digest,
        held_out=held_out,
    )


def head_rows(heads: AuxiliaryHeads | None, config: TrainConfig) -> list[FreezeRow]:
    """The heads' parameters with the largest learning rate of the stage."""
    if heads is None:
        return []
    rate = max(rule.learning_rate for rule in config.stage.trainable)
    return [FreezeRow(HEADS + name, value, rate, value.dim() > 1) for name, value in heads.named_parameters()]


def _open(context: RunContext) -> OpenedRun:
    config = context.config
    if config.data.webdataset:
        if config.model.path is None:
            raise UserError("data.webdataset shows no text to train a tokenizer on: --set model.path=MODEL_FOLDER")
        start_model = read_start_model(config.model.path, config.model.dialogue)
        opened = OpenedRun(start_model, open_webdataset(config, start_model.processor, start_model.max_positions))
    else:
        selection = open_training_selection(config)
        start_model = make_start_model(config.out / "model-init", config.model, selection)
        stream = plan_stream(config, selection, start_model.processor, start_model.max_positions, context.progress)
        opened = OpenedRun(start_model, stream)
    saved = config.out / "plan.json"
    if saved.is_file():
        known = json.loads(saved.read_text())
        opened.stream.check(Pointer.from_dict(known["stream"]))
        if config.model.path is None and "made_model" in known:
            # The model of a preset lies in the folder before the first checkpoint does.
            check_resume_bound_fields(known["made_model"], config, MODEL_FIELDS)
    if context.ranks.is_first:
        made = {name: value for name, value in resume_bound_fields(config).items() if name.startswith(MODEL_FIELDS)}
        summary = opened.stream.summary() | ({} if config.model.path else {"made_model": made})
        write_atomic(saved, json.dumps(summary, indent=2, allow_nan=False).encode() + b"\n")
    return opened


def _start(context: RunContext, stream: Stream, optimiser: torch.optim.Optimizer, base_digest: str) -> Position:
    config = context.config
    folder = config.out / "checkpoints"
    newest = latest_checkpoint(folder)
    # Rank 0 wrote them: its answer holds for all.
    name = context.ranks.texts(newest.name if newest else "")[0]
    if not name:
        return Position(0, stream.start())
    position = load_checkpoint(folder / name, optimiser, config, base_digest)
    stream.check(position.pointer)
    context.progress.line(f"resuming {config.out} from step {position.step} of {stream.total_steps}")
    return position
