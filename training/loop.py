"""The training loop: steps, reports, checkpoints, and an end that can be resumed.

`training.step` holds the mathematics of a step.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from itertools import islice

import torch

from mmrs.errors import RunFailure
from training.checkpoint import CheckpointWriter, Position, take_snapshot
from training.config import TrainConfig
from training.data.collate import Pack
from training.data.loader import check_skipped
from training.monitor import Monitor, StepReport, memory_mb, task_means
from training.optim import learning_rate_factor, set_learning_rate
from training.step import StepCounts, StepOutcome, Training, optimiser_step
from training.stop import StopRequest, stop_request
from training.world import World


def run_loop(training: Training, packs: Iterator[Pack], position: Position, monitor: Monitor) -> Position:
    """Train from `position` to the last step; `packs` starts at the position's pointer.

    Returns:
        The position after the last step, which is also that of the newest checkpoint.

    Raises:
        RunFailure: a loss or gradient is not finite, too many samples are unreadable, a checkpoint was not written.
        RunStopped: a signal asked for it; the checkpoint is written.
    """
    config, world = training.config, training.world
    training.model.train()
    with stop_request() as stop, CheckpointWriter(training.checkpoints, config.checkpoint.keep_last) as writer:
        while position.step < training.total_steps:
            began = time.perf_counter()
            step_packs = list(islice(packs, config.packs_per_step // world.size))
            waited = time.perf_counter() - began
            factor = learning_rate_factor(position.step, training.schedule_steps, config.schedule)
            set_learning_rate(training.optimiser, factor)
            outcome = optimiser_step(training, step_packs, position.step + 1)
            position = _advance(training, position, outcome.counts)
            for pack in step_packs:
                monitor.skipped(pack)
            monitor.step(_report(training, position, outcome, step_packs[0].epoch, time.perf_counter() - began, waited))
            _check_skipped(config, position)
            _agree(world, stop, writer)
            last = position.step == training.total_steps
            if last or stop.received or position.step % config.checkpoint.every_steps == 0:
                _save(training, position, writer)
            if stop.received and not last:
                writer.wait()
                stop.raise_stopped(
                    f"stopped by {stop.received.name} after step {position.step} of {training.total_steps}; "
                    f"its checkpoint is in {training.checkpoints} and the same command goes on from it"
                )
        writer.wait()
    return position


def _agree(world: World, stop: StopRequest, writer: CheckpointWriter) -> None:
    """Let all ranks know of a signal that any of them received, and of a checkpoint that was not written; a collective.

    Raises:
        RunFailure: on every rank, if rank 0 could not write its checkpoint.
    """
    failure = writer.failed()
    received, failed = world.largest(torch.tensor([stop.received or 0, failure is not None])).tolist()
    if failed:
        raise failure or RunFailure("rank 0 could not write a checkpoint; see its message")
    if received:
        stop.received = signal.Signals(received)


def _save(training: Training, position: Position, writer: CheckpointWriter) -> None:
    snapshot = take_snapshot(
        position, training.optimiser, training.config, training.base_digest, keep=training.world.is_first
    )
    if snapshot is not None:
        writer.start(snapshot)


def _advance(training: Training, position: Position, counts: StepCounts) -> Position:
    packs = training.config.packs_per_step
    pointer = training.stream.advance(position.pointer, packs, counts.samples, counts.skipped)
    return Position(position.step + 1, pointer)


def _check_skipped(config: TrainConfig, position: Position) -> None:
    pointer = position.pointer
    check_skipped(pointer.samples, pointer.skipped, config.data.max_skipped_samples, config.data.max_skipped_share)


def _report(
    training: Training,
    position: Position,
    outcome: StepOutcome,
    epoch: int,
    seconds: float,
    waited: float,
) -> StepReport:
    counts = outcome.counts
    return StepReport(
        step=position.step,
        epoch=epoch,
        loss=outcome.loss,
        task_loss=task_means(outcome.sums.task_sums, outcome.sums.task_counts, training.tasks),
        learning_rate=training.optimiser.param_groups[0]["lr"],
        gradient_norm=outcome.gradient_norm,
        target_tokens=counts.targets,
        input_tokens=counts.tokens,
        seconds=seconds,
        target_tokens_per_second=counts.targets / seconds,
        input_tokens_per_second=counts.tokens / seconds,
        padding_share=1 - counts.tokens / training.config.tokens_per_step,
        data_wait_share=waited / seconds,
        samples=position.pointer.samples,
        skipped_samples=position.pointer.skipped,
        memory_mb=memory_mb(training.world.device),
    )
