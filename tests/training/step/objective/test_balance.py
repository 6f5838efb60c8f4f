"""What weighs alike: the gradient is that of a loss written out by hand, however dialogues lie in packs."""

from __future__ import annotations

import pytest
import torch

from mmrs.errors import UserError
from tests.training.micro import make_config
from tests.training.run.test_loop import make_units, pack_of
from training.config import LossConfig, OptimiserConfig
from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor
from training.run.train import train
from training.stages.stage import apply_stage
from training.step.objective.balance import step_weights
from training.step.objective.loss import target_losses
from training.step.optim import build_optimiser
from training.step.ranks import Ranks
from training.step.step import TargetLabels, Training, optimiser_step

TASKS = ("a", "b", "c")
WEIGHTS = {"b": 3.0}


@pytest.fixture
def processor(model_folder):
    return EarthGPTProcessor.from_pretrained(model_folder)


def training_of(model_folder, config):
    model = EarthGPTForConditionalGeneration.from_pretrained(model_folder)
    optimiser = build_optimiser(apply_stage(model, config.stage), OptimiserConfig())
    return Training(config=config, model=model, optimiser=optimiser, labels=TargetLabels(TASKS))


def by_hand(model, pack, balance):
    """The loss of one pack in words: means of means, task by task."""
    losses_T = target_losses(model, pack)
    dialogues: dict = {}
    for place, task, loss in zip(pack.target_positions_T.tolist(), pack.target_tasks_T.tolist(), losses_T, strict=True):
        key = int(pack.image_segment_L[place]), int(pack.dialogue_segment_L[place])
        dialogues.setdefault(key, (task, []))[1].append(loss)
    factor = [WEIGHTS.get(task, 1.0) for task in TASKS]
    if balance == "sample":
        total = sum(factor[task] * torch.stack(own).mean() for task, own in dialogues.values())
        return total / sum(factor[task] for task, _ in dialogues.values())
    of_task = {task: [loss for t, own in dialogues.values() if t == task for loss in own] for task in range(3)}
    of_task = {task: torch.stack(own) for task, own in of_task.items() if own}
    if balance == "task":
        return sum(factor[task] * own.mean() for task, own in of_task.items()) / sum(factor[task] for task in of_task)
    total = sum(factor[task] * own.sum() for task, own in of_task.items())
    return total / sum(factor[task] * len(own) for task, own in of_task.items())


@pytest.mark.parametrize("balance", ["token", "sample", "task"])
@pytest.mark.parametrize("parts", [[6], [1, 3, 2]])
def test_the_gradient_is_that_of_the_loss_in_words(model_folder, processor, tmp_path, balance, parts):
    units = make_units(processor)
    loss = {"balance": balance, "weights": WEIGHTS}
    config = make_config(tmp_path / "out", tmp_path, model_folder, loss=loss, optimiser={"clip_norm": 1e9})
    training = training_of(model_folder, config)
    whole = pack_of(processor, units, 600)
    assert len({*whole.target_tasks_T.tolist()}) > 1
    by_hand(training.model, whole, balance).backward()
    expected = {name: value.grad.clone() for name, value in training.model.named_parameters() if value.grad is not None}
    plain = target_losses(training.model, whole).mean()
    packs, first = [], 0
    for count in parts:
        packs.append(pack_of(processor, units[first : first + count], 600))
        first += count
    outcome = optimiser_step(training, packs, 1)
    for name, value in training.model.named_parameters():
        torch.testing.assert_close(
            value.grad, expected.get(name, torch.zeros_like(value)), rtol=1e-3, atol=2e-6, msg=name
        )
    # What is reported stays comparable.
    assert outcome.loss == pytest.approx(float(plain), rel=1e-5)


def test_one_weight_each_is_the_plain_loss(processor):
    pack = pack_of(processor, make_units(processor), 600)
    weights = step_weights(LossConfig(weights={"a": 1.0}), TASKS, [pack], Ranks()).of(pack)
    torch.testing.assert_close(weights, torch.full((pack.targets,), 1 / pack.targets))
    for balance in ("sample", "task"):
        weights = step_weights(LossConfig(balance=balance), TASKS, [pack], Ranks()).of(pack)
        assert float(weights.sum()) == pytest.approx(1) and len(weights.unique()) > 1


def test_a_factor_for_a_task_that_is_not_there_is_refused(model_folder, shards, tmp_path):
    config = make_config(tmp_path / "out", shards, model_folder, loss={"weights": {"captionin": 2}}, max_steps=1)
    with pytest.raises(UserError, match=r"loss\.weights: .*'captionin'.*captioning"):
        train(config)
