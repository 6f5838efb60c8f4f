"""Evaluation in training: the same packs each time, no influence on the run, never lost and never repeated."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace

import orjson
import pytest
import torch
from PIL import Image

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.errors import UserError
from mmrs.progress import Progress
from tests.support.sources import toy_build, write_toy
from tests.training.micro import make_config
from tests.training.ranks import run_ranks
from training.config import load_config
from training.model import EarthGPTForConditionalGeneration
from training.report.monitor import Monitor, read_metrics
from training.run import held_out as held_out_module
from training.run.checkpoint import complete_checkpoints
from training.run.held_out import held_out_losses
from training.run.signals import Requeue
from training.run.train import train
from training.step.objective.loss import target_losses

QUIET = Progress(quiet=True)


@pytest.fixture(scope="module", autouse=True)
def light():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        # Drawing takes longer than these runs.
        patch.setattr("training.run.train.plot_run", lambda out, image: None)
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def two_splits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two-splits")
    write_toy(folder / "toy", images=12)
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}]})
    build(plan_build([toy_build(folder / "toy")], recipe, 1, QUIET), recipe, folder / "out", 1, QUIET)
    return folder / "out"


def config_of(out, two_splits, model_folder, **changes):
    changes.setdefault("held_out", {"split": "test", "every_steps": 2, "packs": 3})
    changes.setdefault("checkpoint", {"every_steps": 2, "keep_last": 1})
    return make_config(out, two_splits, model_folder, max_steps=6, **changes)


def held_out_lines(out):
    lines = read_metrics(out / "held-out.jsonl")
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def evaluated(two_splits, model_folder, tmp_path_factory):
    config = config_of(tmp_path_factory.mktemp("evaluated") / "out", two_splits, model_folder)
    return train(config, QUIET)


@pytest.mark.nightly
def test_a_run_ends_early_where_nothing_is_gained(two_splits, model_folder, tmp_path, monkeypatch):
    measured = iter([3.0, 2.0, 2.5, 2.4, 1.0, 0.5])

    def as_measured(*given):
        sums = held_out_losses(*given)
        return replace(sums, task_sums=sums.task_sums / sums.mean * next(measured))

    monkeypatch.setattr("training.run.loop.held_out_losses", as_measured)
    held_out = {"split": "test", "every_steps": 1, "packs": 2, "patience": 2}
    checkpoint = {"every_steps": 1, "keep_last": 1, "keep_best": 1}
    config = config_of(tmp_path / "out", two_splits, model_folder, held_out=held_out, checkpoint=checkpoint)
    result = train(config, QUIET)
    assert [line["loss"] for line in held_out_lines(result.out)] == pytest.approx([3.0, 2.0, 2.5, 2.4])
    assert (result.steps, result.checkpoint.name, result.best_checkpoint.name) == (4, "step-00000004", "step-00000002")
    assert (result.model / "config.json").is_file()
    assert train(config, QUIET).steps == 4
    patient = config.model_copy(update={"held_out": config.held_out.model_copy(update={"patience": None})})
    assert train(patient, QUIET).steps == 6


def test_the_loss_is_measured_when_due_and_changes_nothing(evaluated, two_splits, model_folder, tmp_path):
    lines = held_out_lines(evaluated.out)
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert evaluated.held_out_loss == lines[-1]["loss"]
    assert len({line["target_tokens"] for line in lines}) == 1 and len({line["loss"] for line in lines}) == 3
    assert set(lines[0]["sensor_loss"]) == {"optical"}
    plain = train(config_of(tmp_path / "out", two_splits, model_folder, held_out=None), QUIET)
    weights = [(result.model / "model.safetensors").read_bytes() for result in (evaluated, plain)]
    assert weights[0] == weights[1]


def test_the_loss_is_that_of_the_saved_model(evaluated, monkeypatch, tmp_path):
    """Of a finished run whose evaluation got lost only that is done again; the plain function agrees."""
    shutil.copytree(evaluated.out, tmp_path / "out")
    (tmp_path / "out" / "held-out.jsonl").unlink()
    kept = []
    original = held_out_module.held_out_losses

    def spy(training, held_out, stopped):
        kept.append(held_out)
        return original(training, held_out, stopped)

    monkeypatch.setattr("training.run.loop.held_out_losses", spy)
    again = train(load_config(tmp_path / "out" / "config.yaml", [f"out={tmp_path / 'out'}"]), QUIET)
    assert again.resumed_from == 6 and again.held_out_loss == evaluated.held_out_loss
    model = EarthGPTForConditionalGeneration.from_pretrained(evaluated.model).eval()
    with torch.no_grad():
        losses = torch.cat([target_losses(model, pack) for pack in kept[0].packs])
    assert float(losses.mean()) == pytest.approx(evaluated.held_out_loss, abs=1e-5)


def test_a_signal_during_evaluation_keeps_the_step_and_the_evaluation(
    evaluated, two_splits, model_folder, tmp_path, monkeypatch
):
    config = config_of(tmp_path / "out", two_splits, model_folder)
    original, calls = held_out_module.pack_losses, []

    def signalled(training, pack):
        calls.append(pack.number)
        if len(calls) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(training, pack)

    monkeypatch.setattr(held_out_module, "pack_losses", signalled)
    with pytest.raises(Requeue, match=r"SIGTERM after step 4 of 6"):
        train(config, QUIET)
    # The second evaluation was at its second of three packs.
    assert len(calls) == 5
    assert [line["step"] for line in held_out_lines(config.out)] == [2]
    train(config, QUIET)
    assert held_out_lines(config.out) == held_out_lines(evaluated.out)


def test_the_best_checkpoints_stay(two_splits, model_folder, tmp_path, monkeypatch):
    """With losses that are lowest early, so that the newest are not the best."""
    losses = iter([3.0, 1.0, 2.0, 2.5, 4.0, 5.0])
    original = Monitor.held_out

    def scripted(self, report, picture=None):
        original(self, report.__class__(**(vars(report) | {"loss": next(losses)})), picture)

    monkeypatch.setattr(Monitor, "held_out", scripted)
    held_out = {"split": "test", "every_steps": 1, "packs": 1}
    checkpoint = {"every_steps": 1, "keep_last": 1, "keep_best": 2}
    config = config_of(tmp_path / "out", two_splits, model_folder, held_out=held_out, checkpoint=checkpoint)
    result = train(config, QUIET)
    kept = [path.name for path in complete_checkpoints(config.out / "checkpoints")]
    assert kept == ["step-00000002", "step-00000003", "step-00000006"]
    assert result.best_checkpoint.name == "step-00000002"


@pytest.mark.nightly
def test_two_ranks_measure_the_same_loss(evaluated, two_splits, model_folder, tmp_path):
    """Three packs on two ranks: sharded, the second computes one more so that both take part."""
    config = config_of(tmp_path / "out", two_splits, model_folder, parallel={"mode": "fsdp"})
    assert run_ranks(2, train, config, log=tmp_path) == [0, 0]
    for found, expected in zip(held_out_lines(config.out), held_out_lines(evaluated.out), strict=True):
        assert found["loss"] == pytest.approx(expected["loss"], abs=1e-4)
        assert found["target_tokens"] == expected["target_tokens"]


def test_answers_and_their_picture(two_splits, tmp_path):
    config = make_config(
        tmp_path / "out", two_splits, tmp_path, tokens_per_pack=640, tokens_per_step=640, max_steps=1,
        held_out={"split": "test", "every_steps": 1, "packs": 1, "answers": 3, "max_new_tokens": 4},
        log={"tensorboard": True},
    )  # fmt: skip
    model = config.model.model_copy(update={"path": None, "preset": "tiny", "vocab_size": 400})
    train(config.model_copy(update={"model": model}), QUIET)
    folder = config.out / "held-out"
    answers = [orjson.loads(line) for line in (folder / "step-00000001.jsonl").read_bytes().splitlines()]
    fields = {"id", "prompt", "text", "finish_reason", "box_log_probabilities", "said"}
    assert len(answers) == 3 and set(answers[0]) == fields
    with Image.open(folder / "step-00000001.png") as image:
        assert image.width == 1200
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(config.out / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Images("held_out/answers")] == [1]


def test_a_split_that_does_not_fit_is_refused_before_training(two_splits, model_folder, tmp_path):
    with pytest.raises(UserError, match=r"no split 'val'"):
        train(config_of(tmp_path / "a", two_splits, model_folder, held_out={"split": "val"}), QUIET)
    assert not (tmp_path / "a" / "checkpoints").exists()
    with pytest.raises(UserError, match=r"held_out.split=train: the run trains on toy/train"):
        train(config_of(tmp_path / "b", two_splits, model_folder, held_out={"split": "train"}), QUIET)
    assert not (tmp_path / "b" / "checkpoints").exists()
