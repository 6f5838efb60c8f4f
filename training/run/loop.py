"""The training loop: steps, reports, checkpoints, evaluation, and an end that can be resumed.

`training.step.step` holds the mathematics of a step.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from mmrs.errors import RunFailure
from training.config import HeldOutConfig, TrainConfig
from training.data.augment import AUGMENTATIONS
from training.data.collate import Pack
from training.data.loader import check_skipped
from training.data.planning.pointer import Position
from training.report.monitor import (
    HELD_OUT,
    HeldOutReport,
    Monitor,
    StepReport,
    memory_mb,
    read_metrics,
    skipped_samples,
)
from training.run.checkpoint import CheckpointWriter, checkpoint_step, complete_checkpoints, take_snapshot
from training.run.held_out import answer, held_out_losses
from training.run.prepare import PreparedRun
from training.run.profile import profiled
from training.run.signals import StopRequest, listen_for_stop, raise_stopped
from training.step.objective.auxiliary import phase_of
from training.step.optim import learning_rate_factor, set_learning_rate
from training.step.step import StepCounts, StepOutcome, Training, optimiser_step
from training.step.throughput import StepCost, peak_flops

PICTURES = "held-out"


def run_loop(run: PreparedRun, packs: Iterator[Pack], monitor: Monitor, stop: StopRequest) -> Position:
    """Train from the start of the run to its last step; `packs` begins at that position's pointer.

    Args:
        stop: filled by signals; Ctrl-C is noted there too while the loop runs.

    Returns:
        The position after the last step, which is also that of the newest checkpoint.

    Raises:
        RunFailure: a loss or gradient is not finite, too many samples are unreadable, a checkpoint was not written.
        RunStopped: a signal asked for it; the checkpoint is written.
    """
    training, position, total_steps = run.training, run.start, run.stream.total_steps
    checkpoint = training.config.checkpoint
    training.model.train()
    interrupts = listen_for_stop(stop, (signal.SIGINT,))
    with interrupts, ExitStack() as stack:
        writer = stack.enter_context(CheckpointWriter(run.checkpoints, checkpoint.keep_last))
        loop = _Loop(run, training, monitor, stop, writer, StepCost.of(training.model), saved=position.step)
        loop.agree()
        # What a stopped process left out: the signal may have come during the evaluation.
        loop.evaluate(position)
        profiler = stack.enter_context(profiled(training.config.log, run.out, training.ranks.rank))
        while position.step < total_steps and not loop.has_converged(position):
            loop.raise_if_stopped(position)
            position = loop.step(packs, position)
            profiler.step()
            stopping = loop.agree()
            if stopping or position.step % checkpoint.every_steps == 0 or position.step == total_steps:
                loop.save(position)
            if not stopping:
                loop.evaluate(position)
        loop.save(position)
        if run.held_out is not None:
            loop.raise_if_stopped(position)
        writer.wait()
    return position


@dataclass
class _Loop:
    """The parts of the loop that share its instruments; each method is a collective.

    `saved` is the step of the newest checkpoint. `stopping` is the signal that all ranks know of; `stop` is that of
    this rank alone.
    """

    run: PreparedRun
    training: Training
    monitor: Monitor
    stop: StopRequest
    writer: CheckpointWriter
    cost: StepCost
    saved: int
    stopping: signal.Signals | None = None

    def step(self, packs: Iterator[Pack], position: Position) -> Position:
        """One optimiser step and its report."""
        training, config = self.training, self.training.config
        began = time.perf_counter()
        own = list(islice(packs, config.packs_per_step // training.ranks.size))
        waited = time.perf_counter() - began
        schedule_steps = config.schedule.total_steps or self.run.stream.total_steps
        phase = phase_of(config.auxiliary, position.step, schedule_steps)
        factor = learning_rate_factor(phase.done, phase.steps, config.schedule)
        set_learning_rate(training.optimiser, factor)
        outcome = optimiser_step(training, own, position.step + 1, phase)
        position = self._advance(position, outcome.counts)
        if outcome.counts.skipped:
            for line in "\n".join(training.ranks.texts(skipped_samples(own))).split("\n"):
                if line:
                    self.monitor.skipped(*json.loads(line))
        waited, memory = training.ranks.largest(torch.tensor([waited, memory_mb(training.ranks.device)])).tolist()
        seconds = time.perf_counter() - began
        self.monitor.step(self._report(position, outcome, own[0].epoch, factor, seconds, waited, memory))
        _check_skipped(config, position)
        return position

    def agree(self) -> bool:
        """Let all ranks know of a signal to any of them and of a checkpoint that was not written; whether to stop.

        Raises:
            RunFailure: on every rank, if rank 0 could not write its checkpoint.
        """
        failure = self.writer.failed()
        flags = torch.tensor([int(self.stop.received or 0), int(failure is not None)])
        received, failed = self.training.ranks.largest(flags).tolist()
        if failed:
            raise failure or RunFailure("rank 0 could not write a checkpoint; see its message.")
        if received:
            self.stopping = signal.Signals(received)
        return bool(received)

    def save(self, position: Position) -> None:
        """Start to write the checkpoint of a position, unless that was done."""
        if self.saved == position.step:
            return
        training = self.training
        snapshot = take_snapshot(
            position, training.optimiser, training.config, self.run.base_digest, keep=training.ranks.is_first
        )
        self.saved = position.step
        if snapshot is not None:
            # The one before may be the best, so it must be there before the others are compared.
            self.writer.wait()
            self.writer.start(snapshot, best_steps(self.run))

    def evaluate(self, position: Position) -> None:
        """Measure the held-out loss if it is due and not yet known. A signal ends it early, without a result."""
        held_out = self.run.held_out
        if held_out is None or self.stopping or not self._is_due(held_out.config, position.step):
            return
        began = time.perf_counter()
        training = self.training
        sums = held_out_losses(training, held_out, self.agree)
        if sums is None:
            return
        if not math.isfinite(sums.mean):
            raise RunFailure(
                f"the held-out loss after step {position.step} is {sums.mean}: held_out.split={held_out.config.split} "
                "has no readable target token, or the model diverged. The same command goes on from the last "
                "checkpoint."
            )
        picture = None
        if training.ranks.is_first:
            picture = answer(training, held_out, self.run.out / PICTURES, position.step, self._is_asked_to_stop)
        if self.agree():
            return
        report = HeldOutReport(
            step=position.step,
            loss=sums.mean,
            task_loss=sums.by_task(held_out.labels),
            sensor_loss=sums.by_sensor(held_out.labels),
            target_tokens=int(sums.task_counts.sum()),
            seconds=time.perf_counter() - began,
        )
        self.monitor.held_out(report, picture)

    def has_converged(self, position: Position) -> bool:
        """Whether the held-out loss has not fallen for `held_out.patience` evaluations; a collective."""
        held_out = self.run.held_out
        if held_out is None or held_out.config.patience is None or self.stopping:
            return False
        losses = held_out_by_step(self.run.out)
        known = [losses[step] for step in sorted(losses) if step <= position.step]
        since_best = len(known) - 1 - known.index(min(known)) if known else 0
        # Another rank may read the file before the first has written to it.
        told = since_best if self.training.ranks.is_first else 0
        since_best = int(self.training.ranks.largest(torch.tensor(told)))
        if since_best < held_out.config.patience or position.step == self.run.stream.total_steps:
            return False
        self.monitor.ended_early(position.step, since_best, min(known, default=math.nan))
        return True

    def raise_if_stopped(self, position: Position) -> None:
        """End the run in the way that a signal asked for, with its checkpoint written."""
        if self.stopping is None:
            return
        self.save(position)
        self.writer.wait()
        where = f"its checkpoint is in {self.run.checkpoints} and " if position.step else ""
        raise_stopped(
            self.stopping,
            f"stopped by {self.stopping.name} after step {position.step} of {self.run.stream.total_steps}; "
            f"{where}the same command goes on from it",
        )

    def _is_asked_to_stop(self) -> bool:
        return self.stop.received is not None

    def _is_due(self, config: HeldOutConfig, step: int) -> bool:
        if not step or (step % config.every_steps and step != self.run.stream.total_steps):
            return False
        known = step in held_out_by_step(self.run.out)
        # One rank may read the file before another has written to it.
        return not int(self.training.ranks.largest(torch.tensor(int(known))))

    @property
    def _augmentations(self) -> list[tuple[int, str]]:
        """Number and name of the kinds that the configuration asks for."""
        asked = self.training.config.data.augment
        return [(number, kind) for number, kind in enumerate(AUGMENTATIONS) if asked and getattr(asked, kind)]

    def _advance(self, position: Position, counts: StepCounts) -> Position:
        packs = self.training.config.packs_per_step
        pointer = self.run.stream.advance(position.pointer, packs, counts.samples, counts.skipped)
        return Position(position.step + 1, pointer)

    def _report(
        self,
        position: Position,
        outcome: StepOutcome,
        epoch: int,
        factor: float,
        seconds: float,
        waited: float,
        memory: float,
    ) -> StepReport:
        training, counts = self.training, outcome.counts
        config, labels = training.config, training.labels
        # Some of its steps leave out a part of the model, which the cost of a step counts.
        aside = config.auxiliary is not None
        peak = peak_flops(training.ranks.device, config.log.peak_tflops)
        return StepReport(
            step=position.step,
            epoch=epoch,
            loss=outcome.loss,
            task_loss=outcome.sums.by_task(labels),
            sensor_loss=outcome.sums.by_sensor(labels),
            auxiliary_loss=dict(outcome.auxiliary),
            learning_rates={rule.pattern: rule.learning_rate * factor for rule in config.stage.trainable},
            gradient_norm=outcome.gradient_norm,
            target_tokens=counts.targets,
            input_tokens=counts.tokens,
            images=counts.images,
            seconds=seconds,
            target_tokens_per_second=counts.targets / seconds,
            input_tokens_per_second=counts.tokens / seconds,
            padding_share=1 - counts.tokens / config.tokens_per_step,
            data_wait_share=waited / seconds,
            mfu=self.cost.flops(counts) / (seconds * peak * training.ranks.size) if peak and not aside else None,
            samples=position.pointer.samples,
            skipped_samples=position.pointer.skipped,
            memory_mb=memory,
            augmented={kind: counts.augmented[number] / max(1, counts.images) for number, kind in self._augmentations},
        )


def held_out_by_step(out: Path) -> dict[int, float]:
    """The held-out losses that the run in `out` has measured so far."""
    return {line["step"]: line["loss"] for line in read_metrics(out / HELD_OUT)}


def best_steps(run: PreparedRun) -> list[int]:
    """The `keep_best` steps of lowest held-out loss of which there is a checkpoint, best first."""
    losses = held_out_by_step(run.out)
    known = [checkpoint_step(path) for path in complete_checkpoints(run.checkpoints)]
    ranked = sorted((step for step in known if step in losses), key=lambda step: (losses[step], step))
    return ranked[: run.training.config.checkpoint.keep_best]


def _check_skipped(config: TrainConfig, position: Position) -> None:
    pointer = position.pointer
    check_skipped(pointer.samples, pointer.skipped, config.data.max_skipped_samples, config.data.max_skipped_share)
