"""One optimiser step, on one rank or many.

Count the target tokens of the whole step on all ranks, run each of this rank's packs forward and backward with its
summed loss divided by that count (or weighed as `training.step.balance` says), sum gradients over ranks, clip, check
that all is finite, update. So the gradient depends neither on how the tokens are spread over packs nor on the number of
ranks.

Shape legend: L tokens per pack, T targets of all packs of a rank.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import nn

from mmrs.errors import RunFailure
from training.config import TrainConfig
from training.data.augment import AUGMENTATIONS
from training.data.collate import Pack, all_sample_ids
from training.model.modeling import EarthGPTForConditionalGeneration
from training.step.balance import step_weights
from training.step.loss import PackLosses
from training.step.precision import has_half_weights, precision
from training.step.ranks import Ranks
from training.step.sharding import gathered, is_sharded, sum_gradients, sum_in_backward

NAMED_SAMPLES = 8


@dataclass(frozen=True)
class TargetLabels:
    """What losses are told apart by: `tasks`, which packs number, and the sensor of each source."""

    tasks: tuple[str, ...]
    sensors: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def sensor_names(self) -> tuple[str, ...]:
        """Every sensor once, in the order that sums per sensor have."""
        return tuple(sorted(set(self.sensors.values())))


@dataclass(frozen=True)
class Training:
    """What a step works with. `prepared` is what `parallelize` made of `model`."""

    config: TrainConfig
    model: EarthGPTForConditionalGeneration
    optimiser: torch.optim.Optimizer
    labels: TargetLabels
    ranks: Ranks = field(default_factory=Ranks)
    prepared: PackLosses | None = None

    @cached_property
    def pack_losses(self) -> nn.Module:
        """What computes the losses of a pack: as `parallelize` prepared it, or the plain model."""
        return self.prepared or PackLosses(self.model)

    @cached_property
    def half(self) -> bool:
        """Whether weights are of half precision, see `training.step.precision`."""
        return has_half_weights(self.model)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The tensors that train."""
        return [parameter for group in self.optimiser.param_groups for parameter in group["params"]]


@dataclass(frozen=True)
class StepCounts:
    """What all ranks together compute in a step.

    `tokens` are real ones, without padding; `pairs` the visible (query, key) pairs of attention; `samples` counts
    those that were `skipped` too; `augmented` the images that each kind of augmentation changed.
    """

    targets: int
    tokens: int
    pairs: int
    images: int
    samples: int
    skipped: int
    augmented: tuple[int, ...]


@dataclass(frozen=True)
class LossSums:
    """Summed loss in nats and number of target tokens, per task and per sensor."""

    task_sums: torch.Tensor
    task_counts: torch.Tensor
    sensor_sums: torch.Tensor
    sensor_counts: torch.Tensor

    @property
    def mean(self) -> float:
        """Nats per target token; not a number where there is no target."""
        targets = float(self.task_counts.sum())
        return float(self.task_sums.sum()) / targets if targets else math.nan

    def by_task(self, labels: TargetLabels) -> dict[str, float]:
        """Mean loss of each task that has target tokens."""
        return _means(self.task_sums, self.task_counts, labels.tasks)

    def by_sensor(self, labels: TargetLabels) -> dict[str, float]:
        """Mean loss of each sensor that has target tokens."""
        return _means(self.sensor_sums, self.sensor_counts, labels.sensor_names)


@dataclass(frozen=True)
class StepOutcome:
    """Losses and counts of all ranks, and the gradient's norm before clipping."""

    sums: LossSums
    counts: StepCounts
    gradient_norm: float

    @property
    def loss(self) -> float:
        return self.sums.mean


def count_step(packs: Sequence[Pack], ranks: Ranks) -> StepCounts:
    """Counts over the packs of all ranks; a collective."""
    changes = [pack.augmented or (0,) * len(AUGMENTATIONS) for pack in packs]
    own = [
        sum(pack.targets for pack in packs),
        sum(pack.real_tokens for pack in packs),
        # A token's position counts the earlier tokens that it sees.
        sum(int(pack.position_ids_L.sum()) + pack.real_tokens for pack in packs),
        sum(len(pack.pixel_values_NCHW) for pack in packs),
        sum(pack.samples for pack in packs),
        sum(len(pack.skipped) for pack in packs),
        *(sum(counts[kind] for counts in changes) for kind in range(len(AUGMENTATIONS))),
    ]
    targets, tokens, pairs, images, samples, skipped, *augmented = ranks.total(torch.tensor(own)).tolist()
    return StepCounts(targets, tokens, pairs, images, samples, skipped, tuple(augmented))


def optimiser_step(training: Training, packs: Sequence[Pack], step: int) -> StepOutcome:
    """One update from the given packs and those of the other ranks.

    Args:
        packs: this rank's share, as many on each rank.
        step: number of the step, from 1, for error messages.

    Raises:
        RunFailure: nothing to learn from, or a loss or the gradient is not finite; raised on all ranks, and the
            parameters are unchanged.
    """
    counts = count_step(packs, training.ranks)
    if counts.targets == 0:
        raise RunFailure(f"step {step} has no target token: all of its samples are unreadable. See metrics.jsonl.")
    weights = None
    if not training.config.loss.is_plain:
        weights = step_weights(training.config.loss, training.labels.tasks, packs, training.ranks)
    training.optimiser.zero_grad(set_to_none=True)
    losses: list[tuple[Pack, torch.Tensor]] = []
    for number, pack in enumerate(packs, start=1):
        # Ranks that share weights compute together, a pack of nothing but padding included.
        if pack.targets == 0 and not is_sharded(training.config.parallel, training.ranks):
            continue
        sum_in_backward(training.pack_losses, number == len(packs) or training.config.parallel.sum_every_pack)
        losses_T = pack_losses(training, pack)
        if weights is None:
            (losses_T.sum() / counts.targets).backward()
        else:
            (losses_T * weights.of(pack).to(losses_T.device)).sum().backward()
        losses.append((pack, losses_T.detach()))
    sum_gradients(training.parameters, training.ranks)
    norm = float(gathered(nn.utils.clip_grad_norm_(training.parameters, training.config.optimiser.clip_norm)))
    sums = sum_losses(training.ranks, training.labels, losses)
    if not math.isfinite(sums.mean) or not math.isfinite(norm):
        raise _not_finite(training.ranks, step, sums.mean, norm, losses)
    training.optimiser.step()
    return StepOutcome(sums, counts, norm)


def pack_losses(training: Training, pack: Pack) -> torch.Tensor:
    """Loss of each target token of a pack, (T,) fp32 on the device.

    Random numbers (dropout) follow from the seed and the pack, so they are those of any other number of ranks, and a
    resumed run needs no state to draw them again.
    """
    torch.manual_seed(random.Random(f"{training.config.data.seed}/{pack.epoch}/{pack.number}").getrandbits(63))
    with precision(training.ranks.device, training.half):
        return training.pack_losses(pack.to(training.ranks.device))


def sum_losses(ranks: Ranks, labels: TargetLabels, losses: Sequence[tuple[Pack, torch.Tensor]]) -> LossSums:
    """Sums over all packs of all ranks; a collective."""
    tasks, sensors = len(labels.tasks), len(labels.sensor_names)
    sums, counts = (torch.zeros(tasks + sensors, dtype=torch.float64) for _ in range(2))
    packs = [pack for pack, losses_T in losses if len(losses_T)]
    if packs:
        # One transfer: each waits for the device.
        losses_T = torch.cat([losses_T for _, losses_T in losses]).cpu().double()
        keys = [torch.cat([pack.target_tasks_T.cpu() for pack in packs])]
        if sensors:
            keys.append(tasks + torch.cat([_target_sensors(labels, pack) for pack in packs]))
        for keys_T in keys:
            sums.index_add_(0, keys_T, losses_T)
            counts.index_add_(0, keys_T, torch.ones_like(losses_T))
    sums, counts = ranks.total(torch.stack((sums, counts)))
    return LossSums(sums[:tasks], counts[:tasks], sums[tasks:], counts[tasks:])


def _target_sensors(labels: TargetLabels, pack: Pack) -> torch.Tensor:
    """Number of the sensor of each target (T,); a sample's id begins with its source."""
    names = [labels.sensors[sample_id.partition("/")[0]] for sample_id in pack.sample_ids]
    sensor_U = torch.tensor([labels.sensor_names.index(name) for name in names])
    return sensor_U[pack.target_units_T.cpu()]


def _means(sums: torch.Tensor, counts: torch.Tensor, names: tuple[str, ...]) -> dict[str, float]:
    pairs = zip(names, sums.tolist(), counts.tolist(), strict=True)
    return {name: total / count for name, total, count in pairs if count}


def _not_finite(
    ranks: Ranks, step: int, loss: float, norm: float, losses: list[tuple[Pack, torch.Tensor]]
) -> RunFailure:
    at_fault: list[str] = []
    for pack, losses_T in losses:
        units = pack.target_units_T.cpu()[~torch.isfinite(losses_T).cpu()].unique().tolist()
        at_fault += [pack.sample_ids[unit] for unit in units]
    guilty = ranks.texts("\n".join(dict.fromkeys(at_fault)))
    named = guilty if any(guilty) else ranks.texts("\n".join(all_sample_ids([pack for pack, _ in losses])))
    where = [
        sample_id if ranks.size == 1 else f"{sample_id} (rank {rank})"
        for rank, names in enumerate(named)
        for sample_id in names.splitlines()
    ]
    rest = f" and {len(where) - NAMED_SAMPLES} more" if len(where) > NAMED_SAMPLES else ""
    kind = "samples with a loss that is not finite" if any(guilty) else "samples of the step"
    return RunFailure(
        f"step {step}: loss {loss}, gradient norm {norm}; the update was not made. "
        f"{kind}: {', '.join(where[:NAMED_SAMPLES])}{rest}. Lower the learning rate, or leave these samples out; "
        "the same command goes on from the last checkpoint."
    )
