"""A training run from configuration to saved model: the one function that the command line calls.

The run folder::

    OUT/config.yaml      the resolved configuration       OUT/checkpoints/    see training.run.checkpoint
    OUT/plan.json        what an epoch holds              OUT/metrics.jsonl   one line per step
    OUT/model-init/      where the run started            OUT/held-out.jsonl  one line per evaluation
    OUT/model/           the result                       OUT/held-out/       answers and their pictures
    OUT/run.png          drawn at the end                 OUT/tensorboard/    all of it for TensorBoard
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mmrs.errors import RunFailure
from mmrs.progress import Progress
from mmrs.storage.atomic import remove_temporaries, write_atomic
from training.config import TrainConfig
from training.data.loader import plain_failures
from training.data.planning.pointer import Position
from training.model.folder import quiet_transformers
from training.report.monitor import METRICS, Monitor, augmented_images, open_monitor, read_metrics
from training.report.plot import plot_run
from training.run.checkpoint import checkpoint_folder, latest_checkpoint
from training.run.determinism import reproducible
from training.run.final_model import is_saved, origin_of, save_result
from training.run.folder import check_run_folder, run_lock
from training.run.loop import best_steps, held_out_by_step, run_loop
from training.run.prepare import PreparedRun, RunContext, open_run, prepare_run
from training.run.signals import REQUEUE_SIGNALS, StopRequest, listen_for_stop
from training.step.ranks import Ranks, open_ranks
from training.step.sharding import check_ranks, full_state


@dataclass(frozen=True)
class RunResult:
    """Where a finished run left its results. `resumed_from` is the step it went on from, 0 for a new run.

    `held_out_loss` is that of the last step; `best_checkpoint` the kept one with the lowest. `augmented` is the share
    of the run's images that each kind of augmentation reached. `rank` is that of this process; the files are the same
    for all.
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
    augmented: Mapping[str, float] = field(default_factory=dict)
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
            progress.line(f"{ranks.size} ranks, {packs_per_rank} packs of each per optimiser step")
        ranks.first_then_all(lambda: check_run_folder(config, fresh) if ranks.is_first else None)
        with _locked(config, ranks), reproducible(config), quiet_transformers():
            return _train(RunContext(config, ranks, progress, stop))


def _train(context: RunContext) -> RunResult:
    opened = open_run(context)
    run = prepare_run(context, opened)
    with (
        closing(plain_failures(iter(run.stream.loader(run.start, context.ranks)))) as packs,
        _monitor(run, context) as monitor,
    ):
        end = run_loop(run, packs, monitor, context.stop)
    return _finish(run, end)


def _monitor(run: PreparedRun, context: RunContext) -> AbstractContextManager[Monitor]:
    config, writes = context.config, context.ranks.is_first
    return open_monitor(run.out, run.start.step, run.stream.total_steps, config.log, context.progress, writes)


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
    reached = ", ".join(f"{kind} {share:.1%}" for kind, share in result.augmented.items())
    augmented = f"\naugmented   {reached} of the images" if reached else ""
    return (
        f"{result.steps} steps{resumed}, final loss {result.final_loss:.4f}{held_out}{augmented}\n"
        f"model       {result.model}\ncheckpoint  {result.checkpoint}{best}\nplot        {result.plot}"
    )


def _finish(run: PreparedRun, end: Position) -> RunResult:
    """Write what the run leaves, on the rank that writes; a collective."""
    training, ranks = run.training, run.training.ranks
    folder = run.out / "model"
    origin = origin_of(training.config, end, run.base_digest, run.out)

    def save() -> None:
        if ranks.is_first:
            start, stage = run.start_model, training.config.stage
            save_result(run.out, training.model, state, start.processor, stage, start.folder, origin)

    if not ranks.texts("saved" if is_saved(folder, origin) else "")[0]:
        state = full_state(training.model, keep=ranks.is_first)
        ranks.first_then_all(save)
    return ranks.first_then_all(lambda: _result(run, end, folder))


def _result(run: PreparedRun, end: Position, folder: Path) -> RunResult:
    metrics, plot = run.out / METRICS, run.out / "run.png"
    lines = read_metrics(metrics)
    if lines and run.training.ranks.is_first:
        plot_run(run.out, plot)
    newest, best = latest_checkpoint(run.checkpoints), best_steps(run)
    if newest is None:
        raise RunFailure(
            f"{run.checkpoints} has no checkpoint after step {end.step}: somebody removed it. The model is in {folder}."
        )
    return RunResult(
        out=run.out,
        model=folder,
        checkpoint=newest,
        metrics=metrics,
        plot=plot,
        steps=end.step,
        resumed_from=run.start.step,
        final_loss=lines[-1]["loss"] if lines else float("nan"),
        held_out_loss=held_out_by_step(run.out).get(end.step),
        best_checkpoint=checkpoint_folder(run.checkpoints, best[0]) if best else None,
        augmented=augmented_images(lines),
        rank=run.training.ranks.rank,
    )
