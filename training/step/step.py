"""One optimiser step, on one rank or many.

Count the target tokens of the whole step on all ranks, run each of this rank's packs forward and backward with its
summed loss divided by that count (or weighed as `training.step.objective.balance` says), sum gradients over ranks,
clip, check that all is finite, update. So the gradient depends neither on how the tokens are spread over packs nor on
the number of ranks. On a CPU several packs are computed at once (`training.step.pack_threads`).

Shape legend: L tokens per pack, T targets of all packs of a rank.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import torch
from torch import nn

from mmrs.errors import RunFailure
from training.config import TrainConfig
from training.data.augment import AUGMENTATIONS
from training.data.collate import Pack, all_sample_ids
from training.model.modeling.generation import EarthGPTForConditionalGeneration
from training.step.objective.auxiliary import NAMES, AuxiliaryHeads, Phase, auxiliary_counts
from training.step.objective.balance import StepWeights, step_weights
from training.step.objective.coordinates import CoordinateTargets
from training.step.objective.loss import PackLosses, target_losses
from training.step.pack_threads import draws_at_random, in_threads, threads_for
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
    """What a step works with. `prepared` is what `parallelize` made of `model`; `heads` are there where the
    configuration has auxiliary ones, `coordinates` where it spreads their targets."""

    config: TrainConfig
    model: EarthGPTForConditionalGeneration
    optimiser: torch.optim.Optimizer
    labels: TargetLabels
    ranks: Ranks = field(default_factory=Ranks)
    prepared: PackLosses | None = None
    heads: AuxiliaryHeads | None = None
    coordinates: CoordinateTargets | None = None

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

    def threads_for(self, packs: int) -> int:
        """How many of a step's packs are computed at once, see `training.step.pack_threads`."""
        numbers = sum(parameter.numel() for parameter in self.parameters)
        return threads_for(packs, numbers, self.ranks.device, self._draws_at_random)

    @cached_property
    def _draws_at_random(self) -> bool:
        parts = [self.model] if self.heads is None else [self.model, self.heads]
        return draws_at_random(parts, self.model.config.to_dict())

    def parameters_of(self, phase: Phase) -> list[nn.Parameter]:
        """Those that a step of a phase trains. The optimiser leaves the others alone, which have no gradient."""
        groups = self.optimiser.param_groups
        named = [pair for group in groups for pair in zip(group["names"], group["params"], strict=True)]
        return [parameter for name, parameter in named if phase.trains(name)]


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
    """Losses and counts of all ranks, the gradient's norm before clipping, and the mean losses of auxiliary heads."""

    sums: LossSums
    counts: StepCounts
    gradient_norm: float
    auxiliary: Mapping[str, float] = field(default_factory=dict)
    with_text: bool = True

    @property
    def loss(self) -> float:
        """Nats per target token; where the language model was not run, the sum of the heads' losses."""
        return self.sums.mean if self.with_text else sum(self.auxiliary.values())


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


def optimiser_step(training: Training, packs: Sequence[Pack], step: int, phase: Phase | None = None) -> StepOutcome:
    """One update from the given packs and those of the other ranks.

    Args:
        packs: this rank's share, as many on each rank.
        step: number of the step, from 1, for error messages.
        phase: what it computes; by default the text's loss alone.

    Raises:
        RunFailure: nothing to learn from, or a loss or the gradient is not finite; raised on all ranks, and the
            parameters are unchanged.
    """
    counts = count_step(packs, training.ranks)
    if counts.targets == 0:
        raise RunFailure(f"step {step} has no target token: all of its samples are unreadable. See metrics.jsonl.")
    phase = phase or Phase(0, 1)
    weights = None
    if not training.config.loss.is_plain:
        weights = step_weights(training.config.loss, training.labels.tasks, packs, training.ranks)
    heads = _HeadWeights.of(training, packs) if phase.heads else None
    training.optimiser.zero_grad(set_to_none=True)
    objective = partial(_objective, training, phase=phase, counts=counts, weights=weights, heads=heads)
    # Ranks that share weights compute together, a pack of nothing but padding included.
    sharded = is_sharded(training.config.parallel, training.ranks)
    wanted = [pack for pack in packs if pack.targets or sharded]
    threads = 1 if sharded or training.config.parallel.compile else training.threads_for(len(wanted))
    if threads > 1:
        found = _add_gradients(training.parameters, objective, wanted, threads)
    else:
        found = _backward(training, objective, wanted)
    losses = [(pack, result.losses_T.detach()) for pack, result in zip(wanted, found, strict=True)]
    if heads is not None:
        heads.add([result.head_sums for result in found])
    active = training.parameters_of(phase)
    sum_gradients(active, training.ranks)
    norm = float(gathered(nn.utils.clip_grad_norm_(active, training.config.optimiser.clip_norm)))
    sums = sum_losses(training.ranks, training.labels, losses)
    outcome = StepOutcome(sums, counts, norm, heads.means(training.ranks) if heads else {}, phase.text)
    if not math.isfinite(outcome.loss) or not math.isfinite(norm):
        raise _not_finite(training.ranks, step, outcome.loss, norm, losses)
    training.optimiser.step()
    return outcome


@dataclass
class _HeadWeights:
    """What the heads' summed losses are divided by, and those of this rank's packs so far."""

    counts: torch.Tensor
    sums: torch.Tensor

    @classmethod
    def of(cls, training: Training, packs: Sequence[Pack]) -> _HeadWeights:
        grid = math.isqrt(training.model.config.visual_tokens)
        tasks, eos_id = training.labels.tasks, training.model.config.text.eos_token_id
        return cls(auxiliary_counts(packs, tasks, eos_id, training.ranks, grid), torch.zeros(len(NAMES)))

    def add(self, sums: Sequence[torch.Tensor | None]) -> None:
        """The sums of packs, in their order."""
        for each in sums:
            if each is not None:
                self.sums += each

    def means(self, ranks: Ranks) -> dict[str, float]:
        """Of all ranks, those that are not zero throughout; a collective."""
        means = (ranks.total(self.sums.double()) / self.counts).tolist()
        return {name: value for name, value in zip(NAMES, means, strict=True) if value}


@dataclass(frozen=True)
class _PackResult:
    """What a pack adds to the step's objective; the loss of its targets (T,), and the sums of the heads' losses."""

    total: torch.Tensor
    losses_T: torch.Tensor
    head_sums: torch.Tensor | None = None


def _backward(training: Training, objective: Callable[[Pack], _PackResult], packs: Sequence[Pack]) -> list[_PackResult]:
    """One pack after the other."""
    found = []
    for number, pack in enumerate(packs, start=1):
        sum_in_backward(training.pack_losses, number == len(packs) or training.config.parallel.sum_every_pack)
        result = objective(pack)
        if result.total.requires_grad:
            result.total.backward()
        found.append(_without_graph(result))
    return found


def _add_gradients(
    parameters: Sequence[nn.Parameter], objective: Callable[[Pack], _PackResult], packs: Sequence[Pack], threads: int
) -> list[_PackResult]:
    """So many packs at once; their gradients are summed in the order of the packs, as `_backward` does."""

    def work(pack: Pack) -> tuple[_PackResult, Sequence[torch.Tensor | None]]:
        result = objective(pack)
        if not result.total.requires_grad:
            return result, ()
        gradients = torch.autograd.grad(result.total, parameters, allow_unused=True)
        return _without_graph(result), gradients

    found = []
    for result, gradients in in_threads(work, packs, threads):
        for parameter, gradient in zip(parameters, gradients, strict=False):
            if gradient is None:
                continue
            if parameter.grad is None:
                # One of its own, laid out as the parameter: what autograd returns may be shared, or transposed.
                parameter.grad = torch.empty_like(parameter).copy_(gradient)
            else:
                parameter.grad += gradient
        found.append(result)
    return found


def _without_graph(result: _PackResult) -> _PackResult:
    return replace(result, total=result.total.detach(), losses_T=result.losses_T.detach())


def _objective(
    training: Training,
    pack: Pack,
    phase: Phase,
    counts: StepCounts,
    weights: StepWeights | None,
    heads: _HeadWeights | None,
) -> _PackResult:
    """A pack forward, beside the heads where there are some: images are encoded once. Without text losses are (0,)."""
    if training.heads is None:
        losses_T = pack_losses(training, pack)
        return _PackResult(_weighed(losses_T, pack, counts, weights), losses_T)
    pack = pack.to(training.ranks.device)
    model, total = training.model, torch.zeros((), device=training.ranks.device)
    losses_T, features_NSD, head_sums = total.new_zeros(0), None, None
    _seed(training, pack)
    with precision(training.ranks.device, training.half):
        if len(pack.pixel_values_NCHW):
            with torch.set_grad_enabled(phase.image_side):
                features_NSD = model.get_image_features(pack.pixel_values_NCHW).pooler_output
        if phase.text:
            losses_T = target_losses(model, pack, features_NSD=features_NSD, coordinates=training.coordinates)
            total = total + _weighed(losses_T, pack, counts, weights)
        if heads is not None and features_NSD is not None:
            eos_id = model.config.text.eos_token_id
            sums = training.heads(features_NSD[:, 1:-1], pack, training.labels.tasks, eos_id)
            head_sums = sums.detach().cpu()
            auxiliary = training.config.auxiliary
            total = (
                total + (1.0 if auxiliary is None else auxiliary.weight) * (sums / heads.counts.to(sums.device)).sum()
            )
    return _PackResult(total, losses_T, head_sums)


def _weighed(losses_T: torch.Tensor, pack: Pack, counts: StepCounts, weights: StepWeights | None) -> torch.Tensor:
    if weights is None:
        return losses_T.sum() / counts.targets
    return (losses_T * weights.of(pack).to(losses_T.device)).sum()


def pack_losses(training: Training, pack: Pack) -> torch.Tensor:
    """Loss of each target token of a pack, (T,) fp32 on the device."""
    _seed(training, pack)
    with precision(training.ranks.device, training.half):
        return training.pack_losses(pack.to(training.ranks.device), training.coordinates)


def _seed(training: Training, pack: Pack) -> None:
    """Random numbers (dropout) follow from the seed and the pack, so they are those of any other number of ranks, and a
    resumed run needs no state to draw them again."""
    torch.manual_seed(random.Random(f"{training.config.data.seed}/{pack.epoch}/{pack.number}").getrandbits(63))


def sum_losses(ranks: Ranks, labels: TargetLabels, losses: Sequence[tuple[Pack, torch.Tensor]]) -> LossSums:
    """Sums over all packs of all ranks; a collective."""
    tasks, sensors = len(labels.tasks), len(labels.sensor_names)
    sums, counts = (torch.zeros(tasks + sensors, dtype=torch.float64) for _ in range(2))
    losses = [(pack, losses_T) for pack, losses_T in losses if len(losses_T)]
    packs = [pack for pack, _ in losses]
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
        if not len(losses_T):
            continue
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
