"""The training loop.

One optimiser step: fetch all its packs, count the target tokens of the whole step, run each pack forward and backward
with its summed loss divided by that count, clip, check that all is finite, update. So the gradient does not depend on
how the tokens are spread over packs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from mmrs.errors import RunFailure
from training.checkpoint import Position, save_checkpoint
from training.config import TrainConfig
from training.data.collate import Pack, all_sample_ids
from training.data.loader import check_skipped
from training.data.stream import PackStream
from training.loss import target_losses
from training.model.modeling import EarthGPTForConditionalGeneration
from training.monitor import Monitor, StepReport, memory_mb, task_means
from training.optim import learning_rate_factor, set_learning_rate
from training.stop import stop_request

NAMED_SAMPLES = 8


@dataclass(frozen=True)
class Training:
    """All that the loop works with."""

    config: TrainConfig
    model: EarthGPTForConditionalGeneration
    optimiser: torch.optim.Optimizer
    stream: PackStream
    tasks: tuple[str, ...]
    total_steps: int
    checkpoints: Path
    base_digest: str
    device: torch.device

    @property
    def schedule_steps(self) -> int:
        return self.config.schedule.total_steps or self.total_steps


@dataclass(frozen=True)
class StepOutcome:
    """Loss in nats per target token, total and summed per task, and the gradient's norm before clipping."""

    loss: float
    task_sums: torch.Tensor
    task_counts: torch.Tensor
    gradient_norm: float


def run_loop(training: Training, packs: Iterator[Pack], position: Position, monitor: Monitor) -> Position:
    """Train from `position` to the last step; `packs` starts at the position's pointer.

    Returns:
        The position after the last step, which is also that of the newest checkpoint.

    Raises:
        RunFailure: a loss or gradient is not finite, too many samples are unreadable, a checkpoint was not written.
        RunStopped: a signal asked for it; the checkpoint is written.
    """
    config = training.config
    training.model.train()
    with stop_request() as stop:
        while position.step < training.total_steps:
            began = time.perf_counter()
            step_packs = list(islice(packs, config.packs_per_step))
            waited = time.perf_counter() - began
            factor = learning_rate_factor(position.step, training.schedule_steps, config.schedule)
            set_learning_rate(training.optimiser, factor)
            outcome = optimiser_step(training, step_packs, position.step + 1)
            position = _advance(training.stream, position, step_packs)
            for pack in step_packs:
                monitor.skipped(pack)
            monitor.step(_report(training, position, outcome, step_packs, time.perf_counter() - began, waited))
            _check_skipped(config, position)
            last = position.step == training.total_steps
            if last or stop.received or position.step % config.checkpoint.every_steps == 0:
                path = save_checkpoint(training.checkpoints, position, training.optimiser, config, training.base_digest)
                if stop.received and not last:
                    stop.raise_stopped(
                        f"stopped by {stop.received.name} after step {position.step} of {training.total_steps}; "
                        f"{path} is written and the same command goes on from it"
                    )
    return position


def optimiser_step(training: Training, packs: Sequence[Pack], step: int) -> StepOutcome:
    """One update from the given packs.

    Args:
        step: number of the step, from 1, for error messages.

    Raises:
        RunFailure: nothing to learn from, or a loss or the gradient is not finite; the parameters are unchanged.
    """
    targets = sum(pack.targets for pack in packs)
    if targets == 0:
        raise RunFailure(f"step {step} has no target token: all of its samples are unreadable. See metrics.jsonl.")
    training.optimiser.zero_grad(set_to_none=True)
    losses = []
    for pack in packs:
        if pack.targets == 0:
            continue
        on_device = pack.to(training.device)
        with _precision(training.device):
            losses_T = target_losses(training.model, on_device)
        (losses_T.sum() / targets).backward()
        losses.append((on_device, losses_T.detach().double()))
    parameters = [parameter for group in training.optimiser.param_groups for parameter in group["params"]]
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, training.config.optimiser.clip_norm))
    sums = torch.zeros(len(training.tasks), dtype=torch.float64, device=training.device)
    counts = torch.zeros_like(sums)
    for pack, losses_T in losses:
        sums.index_add_(0, pack.target_tasks_T, losses_T)
        counts.index_add_(0, pack.target_tasks_T, torch.ones_like(losses_T))
    loss = float(sums.sum()) / targets
    if not math.isfinite(loss) or not math.isfinite(norm):
        raise _not_finite(step, loss, norm, losses)
    training.optimiser.step()
    return StepOutcome(loss, sums.cpu(), counts.cpu(), norm)


def _precision(device: torch.device) -> AbstractContextManager:
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


def _not_finite(step: int, loss: float, norm: float, losses: list[tuple[Pack, torch.Tensor]]) -> RunFailure:
    at_fault: list[str] = []
    for pack, losses_T in losses:
        units = pack.target_units_T[~torch.isfinite(losses_T)].unique().tolist()
        at_fault += [pack.sample_ids[unit] for unit in units]
    named = list(dict.fromkeys(at_fault)) or all_sample_ids([pack for pack, _ in losses])
    rest = f" and {len(named) - NAMED_SAMPLES} more" if len(named) > NAMED_SAMPLES else ""
    kind = "samples with a loss that is not finite" if at_fault else "samples of the step"
    return RunFailure(
        f"step {step}: loss {loss}, gradient norm {norm}; the update was not made. "
        f"{kind}: {', '.join(named[:NAMED_SAMPLES])}{rest}. Lower the learning rate, or leave these samples out; "
        "the same command goes on from the last checkpoint."
    )


def _advance(stream: PackStream, position: Position, packs: Sequence[Pack]) -> Position:
    skipped = sum(len(pack.skipped) for pack in packs)
    samples = skipped + sum(len(pack.sample_ids) for pack in packs)
    return Position(position.step + 1, stream.advance(position.pointer, len(packs), samples, skipped))


def _check_skipped(config: TrainConfig, position: Position) -> None:
    pointer = position.pointer
    check_skipped(pointer.samples, pointer.skipped, config.data.max_skipped_samples, config.data.max_skipped_share)


def _report(
    training: Training,
    position: Position,
    outcome: StepOutcome,
    packs: Sequence[Pack],
    seconds: float,
    waited: float,
) -> StepReport:
    targets = sum(pack.targets for pack in packs)
    tokens = sum(pack.real_tokens for pack in packs)
    return StepReport(
        step=position.step,
        epoch=packs[0].epoch,
        loss=outcome.loss,
        task_loss=task_means(outcome.task_sums, outcome.task_counts, training.tasks),
        learning_rate=training.optimiser.param_groups[0]["lr"],
        gradient_norm=outcome.gradient_norm,
        target_tokens=targets,
        input_tokens=tokens,
        seconds=seconds,
        target_tokens_per_second=targets / seconds,
        input_tokens_per_second=tokens / seconds,
        padding_share=1 - tokens / (len(packs) * training.config.tokens_per_pack),
        data_wait_share=waited / seconds,
        samples=position.pointer.samples,
        skipped_samples=position.pointer.skipped,
        memory_mb=memory_mb(training.device),
    )
