"""A training run from configuration to saved model: the one function that the command line calls.

The run folder::

    OUT/config.yaml      the resolved configuration       OUT/checkpoints/    see training.run.checkpoint
    OUT/plan.json        what an epoch holds              OUT/metrics.jsonl   one line per step
    OUT/model-init/      where the run started            OUT/held-out.jsonl  one line per evaluation
    OUT/model/           the result                       OUT/held-out/       answers and their pictures
    OUT/run.png          drawn at the end                 OUT/tensorboard/    all of it for TensorBoard
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmrs.errors import UserError
from mmrs.progress import Progress
from mmrs.storage.atomic import remove_temporaries, write_atomic
from training.config import TrainConfig, check_resume_bound_fields, load_config, resume_bound_fields
from training.data.collate import Pack
from training.data.loader import PackDataset, PackSampler, pack_loader, plain_failures
from training.data.open import open_training_selection, prepare_stream
from training.data.planning.pointer import Pointer, check_same_stream
from training.data.planning.selection import Selection
from training.data.planning.sequence import PackSequence
from training.data.planning.summary import plan_lines, summarise
from training.data.webdataset import NOTICE, SOURCE, WebdatasetStream, open_webdataset, webdataset_loader
from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor
from training.model.folder import check_model_folder
from training.report.monitor import METRICS, open_monitor, read_metrics, say
from training.report.plot import plot_run
from training.run.checkpoint import Position, checkpoint_folder, latest_checkpoint, load_checkpoint
from training.run.determinism import quiet_transformers, reproducible, run_lock
from training.run.final_model import folder_digest, is_saved, origin_of, save_result
from training.run.held_out import open_held_out, sensors_of
from training.run.loop import best_steps, held_out_by_step, run_loop
from training.run.signals import REQUEUE_SIGNALS, StopRequest, listen_for_stop
from training.stages.initial_model import initial_model_folder
from training.stages.stage import add_tuned_parameters, apply_stage, freeze_report
from training.step.optim import build_optimiser
from training.step.ranks import Ranks, open_ranks
from training.step.sharding import check_ranks, current_rows, full_state, parallelize
from training.step.step import Training


@dataclass(frozen=True)
class RunResult:
    """Where a finished run left its results. `resumed_from` is the step it went on from, 0 for a new run.

    `held_out_loss` is that of the last step; `best_checkpoint` the kept one with the lowest. `rank` is that of this
    process; the files are the same for all.
    """

    out: Path
    model: Path
    checkpoint: Path
    metrics: Path
    plot: Path
    steps: int
    resumed_from: int
    final_loss: float
    held_out_loss: float | None = None
    best_checkpoint: Path | None = None
    rank: int = 0


def train(config: TrainConfig, progress: Progress | None = None, fresh: bool = False) -> RunResult:
    """Train, or go on with the run that is in `config.out`.

    A folder with checkpoints is resumed from the newest one; a finished run is only reported. With `fresh` any content
    of the folder is refused.

    Args:
        progress: where to report on standard error; by default it reports.
        fresh: demand an empty folder.

    Raises:
        UserError: data, model, configuration or folder do not fit together.
        RunFailure: the run started and failed.
        RunStopped: a signal stopped it; the checkpoint is written.
    """
    stop = StopRequest()
    # A job may be preempted while it still loads: that is noted too, and the loop ends before its first step.
    with listen_for_stop(stop, REQUEUE_SIGNALS), open_ranks(config.device) as ranks:
        packs_per_rank = check_ranks(config, ranks)
        progress = (progress or Progress()) if ranks.is_first else Progress(quiet=True)
        if ranks.size > 1:
            say(progress, f"{ranks.size} ranks, {packs_per_rank} packs of each per optimiser step")
        ranks.first_then_all(lambda: _check_folder(config, fresh) if ranks.is_first else None)
        with _locked(config, ranks), reproducible(config), quiet_transformers():
            return _train(config, progress, ranks, stop)


@contextmanager
def _locked(config: TrainConfig, ranks: Ranks) -> Iterator[None]:
    """Hold the run folder and tidy it on the rank that writes; the others wait for that."""
    with ExitStack() as stack:

        def take() -> None:
            if ranks.is_first:
                stack.enter_context(run_lock(config.out))
                remove_temporaries(config.out)
                write_atomic(config.out / "config.yaml", config.to_yaml().encode())

        ranks.first_then_all(take)
        yield


def describe_run(result: RunResult) -> str:
    """The result of a run for a person."""
    resumed = f", resumed at step {result.resumed_from}" if result.resumed_from else ""
    held_out = "" if result.held_out_loss is None else f", held-out loss {result.held_out_loss:.4f}"
    best = f"\nbest        {result.best_checkpoint}" if result.best_checkpoint else ""
    return (
        f"{result.steps} steps{resumed}, final loss {result.final_loss:.4f}{held_out}\n"
        f"model       {result.model}\ncheckpoint  {result.checkpoint}{best}\nplot        {result.plot}"
    )


def _train(config: TrainConfig, progress: Progress, ranks: Ranks, stop: StopRequest) -> RunResult:
    selection = None if config.data.webdataset else ranks.first_then_all(lambda: open_training_selection(config))
    base = ranks.first_then_all(lambda: _base_folder(config, selection))
    processor = EarthGPTProcessor.from_pretrained(base)
    model = EarthGPTForConditionalGeneration.from_pretrained(base, use_safetensors=True)
    add_tuned_parameters(model, config.stage, config.model.seed)
    rows = apply_stage(model, config.stage, torch.bfloat16 if ranks.device.type == "cuda" else None)
    model.to(ranks.device)
    max_positions = model.config.get_text_config().max_position_embeddings
    stream, total_steps = ranks.first_then_all(
        lambda: _plan(config, selection, processor, max_positions, progress, ranks)
    )
    say(progress, freeze_report(rows))

    held_out = ranks.first_then_all(lambda: open_held_out(config, processor, max_positions, ranks, progress))
    prepared = parallelize(model, config.parallel, ranks)
    training = Training(
        config=config,
        model=model,
        optimiser=build_optimiser(current_rows(rows, model), config.optimiser),
        stream=stream,
        tasks=stream.tasks if selection is None else selection.tasks,
        total_steps=total_steps,
        checkpoints=config.out / "checkpoints",
        base_digest=folder_digest(base),
        ranks=ranks,
        sensors={SOURCE: "unknown"} if selection is None else sensors_of(selection),
        prepared=prepared,
    )
    start = _start(training, progress)
    with (
        closing(_packs(training, selection, processor, start)) as packs,
        open_monitor(config.out, start.step, total_steps, config.log, progress, ranks.is_first) as monitor,
    ):
        end = run_loop(training, packs, start, monitor, stop, held_out)
    return _finish(training, processor, base, start, end)


def _packs(
    training: Training, selection: Selection | None, processor: EarthGPTProcessor, start: Position
) -> Generator[Pack, None, None]:
    """The packs of this rank from a position on; closing them ends the workers."""
    config, ranks, stream = training.config, training.ranks, training.stream
    pin_memory = ranks.device.type == "cuda"
    if selection is None:
        loader = webdataset_loader(stream, processor, config, start.pointer, ranks.rank, ranks.size, pin_memory)
        return plain_failures(iter(loader))
    steps = max(0, training.total_steps - start.step)
    sampler = PackSampler(stream, start.pointer, steps, config.packs_per_step, ranks.rank, ranks.size)
    data = config.data
    dataset = PackDataset(
        selection, stream.lengths, processor, config.tokens_per_pack, data.verify_images, data.augment, data.seed
    )
    return plain_failures(iter(pack_loader(dataset, sampler, config.workers, pin_memory)))


def _base_folder(config: TrainConfig, selection: Selection | None) -> Path:
    """Where the run starts: the given model folder, or the one made for the preset."""
    path = config.model.path
    if path is None and selection is not None:
        return initial_model_folder(config.out / "model-init", config.model, selection)
    return check_model_folder(path, "model.path")


def _plan(
    config: TrainConfig,
    selection: Selection | None,
    processor: EarthGPTProcessor,
    max_positions: int,
    progress: Progress,
    ranks: Ranks,
) -> tuple[PackSequence | WebdatasetStream, int]:
    """The stream and the number of optimiser steps; the plan's summary, if there is one, is printed and saved."""
    if selection is None:
        say(progress, NOTICE)
        return open_webdataset(config, processor, max_positions), config.max_steps or 0
    stream = prepare_stream(config, selection, processor, max_positions, progress)
    settings = stream.settings
    saved = config.out / "plan.json"
    if saved.is_file():
        check_same_stream(Pointer.from_dict(json.loads(saved.read_text())["stream"]), settings)
    total_steps = config.max_steps or stream.steps(config.epochs or 1, config.packs_per_step)
    if not ranks.is_first:
        return stream, total_steps
    summary = summarise(stream.plan(0), stream.lengths, settings, selection)
    summary |= {"steps": total_steps, "packs_per_step": config.packs_per_step, "stream": stream.start().to_dict()}
    write_atomic(saved, json.dumps(summary, indent=2).encode() + b"\n")
    for line in plan_lines(summary, settings, total_steps, config.packs_per_step):
        say(progress, line)
    return stream, total_steps


def _start(training: Training, progress: Progress) -> Position:
    newest = latest_checkpoint(training.checkpoints)
    # Rank 0 wrote them: its answer holds for all.
    name = training.ranks.texts(newest.name if newest else "")[0]
    if not name:
        return Position(0, training.stream.start())
    path = training.checkpoints / name
    position = load_checkpoint(path, training.optimiser, training.config, training.base_digest)
    training.stream.check(position.pointer)
    say(progress, f"resuming {training.config.out} from step {position.step} of {training.total_steps}")
    return position


def _finish(training: Training, processor: EarthGPTProcessor, base: Path, start: Position, end: Position) -> RunResult:
    out, ranks = training.config.out, training.ranks
    folder = out / "model"
    origin = origin_of(training.config, end, training.base_digest)
    if not ranks.texts("saved" if is_saved(folder, origin) else "")[0]:
        state = full_state(training.model, keep=ranks.is_first)
        ranks.first_then_all(lambda: _save(training, state, processor, base, origin))
    return ranks.first_then_all(lambda: _result(training, start, end, folder))


def _save(
    training: Training,
    state: dict[str, torch.Tensor] | None,
    processor: EarthGPTProcessor,
    base: Path,
    origin: dict[str, Any],
) -> None:
    if state is not None:
        save_result(training.config.out, training.model, state, processor, training.config.stage, base, origin)


def _result(training: Training, start: Position, end: Position, folder: Path) -> RunResult:
    out = training.config.out
    metrics, plot = out / METRICS, out / "run.png"
    lines = read_metrics(metrics)
    if lines and training.ranks.is_first:
        plot_run(out, plot)
    newest = latest_checkpoint(training.checkpoints)
    assert newest is not None
    return RunResult(
        out=out,
        model=folder,
        checkpoint=newest,
        metrics=metrics,
        plot=plot,
        steps=end.step,
        resumed_from=start.step,
        final_loss=lines[-1]["loss"] if lines else float("nan"),
        held_out_loss=held_out_by_step(training).get(end.step),
        best_checkpoint=checkpoint_folder(training.checkpoints, best[0]) if (best := best_steps(training)) else None,
        rank=training.ranks.rank,
    )


def _check_folder(config: TrainConfig, fresh: bool) -> None:
    """Refuse a folder that is no run, or one of a run with another configuration."""
    out = config.out
    if not out.exists() or not any(out.iterdir()):
        return
    if fresh:
        raise UserError(f"{out} is not empty. Leave out --fresh to resume it, choose another `out`, or: rm -r {out}")
    saved = out / "config.yaml"
    if not saved.is_file():
        if {path.name for path in out.iterdir()} <= {"lock"}:
            return
        raise UserError(f"{out} is not empty and no training run: it has no config.yaml. Choose another `out`.")
    previous = load_config(saved)
    check_resume_bound_fields(resume_bound_fields(previous), config)
