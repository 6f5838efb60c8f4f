"""Packs in threads of their own: the bits of one thread, and only where that can be."""

from __future__ import annotations

import copy
import threading
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.training.run.test_loop import make_units, pack_of, processor, training  # noqa: F401 - fixtures
from training.stages.stage import apply_stage
from training.step import step as step_module
from training.step.optim import build_optimiser
from training.step.pack_threads import MOST_NUMBERS, draws_at_random, in_threads, threads_for
from training.step.step import optimiser_step

CPU = torch.device("cpu")


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def _trained(training, packs):  # noqa: F811
    """Losses, norms and weights of three steps of a copy."""
    model = copy.deepcopy(training.model)
    optimiser = build_optimiser(apply_stage(model, training.config.stage), training.config.optimiser)
    own = replace(training, model=model, optimiser=optimiser)
    outcomes = [optimiser_step(own, packs, number) for number in (1, 2, 3)]
    return [(outcome.loss, outcome.gradient_norm) for outcome in outcomes], model.state_dict()


def test_steps_are_bit_for_bit_those_of_one_thread(training, processor, two_threads, monkeypatch):  # noqa: F811
    units = make_units(processor)
    packs = [pack_of(processor, units[first : first + 2], 600) for first in (0, 2, 4)]
    used = []

    def noted(work, items, threads):
        used.append(threads)
        return in_threads(work, items, threads)

    monkeypatch.setattr(step_module, "in_threads", noted)
    at_once = _trained(training, packs)
    assert used == [2, 2, 2] and torch.get_num_threads() == 2
    torch.set_num_threads(1)
    in_turn = _trained(training, packs)
    assert used == [2, 2, 2]
    assert at_once[0] == in_turn[0]
    for name, value in in_turn[1].items():
        assert torch.equal(at_once[1][name], value), name


def test_results_come_in_order_and_threads_of_torch_are_shared_out(two_threads):
    both = threading.Barrier(2, timeout=30)

    def work(number: int) -> tuple[int, int, int]:
        both.wait()
        return number, torch.get_num_threads(), threading.get_ident()

    results = list(in_threads(work, range(6), 2))
    assert [number for number, *_ in results] == list(range(6))
    assert {threads for _, threads, _ in results} == {1}
    assert len({thread for *_, thread in results}) == 2
    assert torch.get_num_threads() == 2


def test_an_error_is_raised_and_leaves_the_threads_of_torch_as_they_were(two_threads):
    def work(number: int) -> int:
        if number == 1:
            raise ValueError("the second")
        return number

    with pytest.raises(ValueError, match="the second"):
        list(in_threads(work, range(4), 2))
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("packs", "numbers", "device", "at_random", "threads"),
    [
        (4, 1000, CPU, False, 2),
        (1, 1000, CPU, False, 1),
        (0, 1000, CPU, False, 1),
        (4, MOST_NUMBERS + 1, CPU, False, 1),
        (4, 1000, torch.device("cuda"), False, 1),
        (4, 1000, CPU, True, 1),
    ],
)
def test_packs_share_threads_only_where_that_can_be(packs, numbers, device, at_random, threads, two_threads):
    assert threads_for(packs, numbers, device, at_random) == threads


def test_dropout_of_a_module_or_of_a_configuration_is_noticed(training):  # noqa: F811
    config = training.model.config.to_dict()
    assert not draws_at_random([training.model], config)
    assert draws_at_random([training.model, nn.Sequential(nn.Dropout(0.1))], config)
    config["text_config"]["attention_dropout"] = 0.1
    assert draws_at_random([training.model], config)
    assert draws_at_random([], {"encoders": [{"config": {"drop_path_rate": 0.2}}]})
