"""Whole runs: interrupted anywhere and however, they end with the same bytes as an uninterrupted one."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from cli import main
from mmrs.errors import RunFailure, UserError
from tests.training.micro import make_config, make_model_folder
from tests.training.shard_folder import make_shard_folder
from training.config import LossConfig, ModelConfig, TrainConfig, load_config
from training.model import EarthGPTConfig, EarthGPTForConditionalGeneration, EarthGPTProcessor
from training.report.monitor import Monitor, read_metrics
from training.run import prepare
from training.run.checkpoint import latest_checkpoint
from training.run.final_model import export_checkpoint
from training.run.folder import run_lock
from training.run.signals import Interrupted, Requeue
from training.run.train import train

VOLATILE = {"seconds", "target_tokens_per_second", "input_tokens_per_second", "data_wait_share", "memory_mb"}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def no_plot(monkeypatch):
    """Drawing takes longer than these runs; that of `straight` is drawn."""
    monkeypatch.setattr("training.run.train.plot_run", lambda out, image: None)


@pytest.fixture(autouse=True)
def default_handlers():
    """Handlers as a shell's foreground command has them: other tests and background jobs leave others."""
    defaults = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in defaults.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def straight(shards, model_folder, tmp_path_factory):
    """An uninterrupted run."""
    return train(make_config(tmp_path_factory.mktemp("straight") / "out", shards, model_folder))


def result_bytes(out: Path) -> dict[str, bytes]:
    checkpoint = latest_checkpoint(out / "checkpoints")
    files = [*sorted(checkpoint.glob("*.safetensors")), checkpoint / "state.json", out / "model" / "model.safetensors"]
    return {f"{file.parent.name}/{file.name}": file.read_bytes() for file in files}


def steady_metrics(out: Path) -> list[dict]:
    lines = read_metrics(out / "metrics.jsonl")
    return [{key: value for key, value in line.items() if key not in VOLATILE} for line in lines]


def assert_same_run(out: Path, straight: Path) -> None:
    found, expected = result_bytes(out), result_bytes(straight)
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []
    assert steady_metrics(out) == steady_metrics(straight)


@pytest.fixture
def signal_after_step(monkeypatch):
    """Send this process a signal when a step is reported."""
    original, wanted = Monitor.step, {}

    def step(self, report):
        original(self, report)
        if report.step in wanted:
            os.kill(os.getpid(), wanted.pop(report.step))

    monkeypatch.setattr(Monitor, "step", step)
    return wanted


def test_a_run_leaves_what_it_promises(straight, shards):
    out = straight.out
    lines = read_metrics(straight.metrics)
    assert [line["step"] for line in lines] == list(range(1, straight.steps + 1))
    assert set(lines[0]["task_loss"]) == {"captioning", "classification", "detection-hbb"}
    assert straight.final_loss == lines[-1]["loss"] < lines[0]["loss"]
    assert straight.plot.read_bytes().startswith(b"\x89PNG")
    assert load_config(out / "config.yaml").out == out
    plan = json.loads((out / "plan.json").read_text())
    assert plan["samples"] == 24 and plan["dialogues"] == 48 and plan["excluded"] == []
    assert plan["dialects"] == ["mmrs"]
    assert plan["steps"] == straight.steps and straight.resumed_from == 0
    assert len(list((out / "checkpoints").iterdir())) == 2
    assert not list(out.rglob("*.tmp-*"))


def test_the_result_loads_and_has_the_trained_weights(straight):
    model = EarthGPTForConditionalGeneration.from_pretrained(straight.model)
    processor = EarthGPTProcessor.from_pretrained(straight.model)
    assert processor.encode_prefix(True)[1:] == [model.config.image_token_id] * model.config.image_slots
    origin = json.loads((straight.model / "training.json").read_text())
    assert origin["dialects"] == model.config.origin["training"][-1]["dialects"] == ["mmrs"]
    assert origin["steps"] == straight.steps and len(origin["data_set_id"]) == 64


def test_a_finished_run_is_only_reported(straight):
    before = result_bytes(straight.out)
    stamp = (straight.model / "model.safetensors").stat().st_mtime_ns
    again = train(load_config(straight.out / "config.yaml"))
    assert again.resumed_from == again.steps == straight.steps
    assert result_bytes(straight.out) == before
    assert (straight.model / "model.safetensors").stat().st_mtime_ns == stamp


def test_workers_do_not_change_the_result(straight, shards, model_folder, tmp_path):
    train(make_config(tmp_path / "out", shards, model_folder, workers=2))
    assert_same_run(tmp_path / "out", straight.out)


@pytest.mark.nightly
def test_stopped_after_any_step_and_resumed(straight, shards, model_folder, tmp_path, signal_after_step):
    for step in range(1, straight.steps):
        config = make_config(tmp_path / f"out-{step}", shards, model_folder)
        signal_after_step[step] = signal.SIGTERM
        with pytest.raises(Requeue, match=rf"SIGTERM after step {step} of {straight.steps}"):
            train(config)
        assert train(config).resumed_from == step
        assert_same_run(config.out, straight.out)


def test_stopped_after_every_step(straight, shards, model_folder, tmp_path, signal_after_step):
    """A resume of a resume of a resume, over the edges of epochs."""
    config = make_config(tmp_path / "out", shards, model_folder)
    for step in range(1, straight.steps):
        signal_after_step[step] = signal.SIGUSR1
        with pytest.raises(Requeue):
            train(config)
    train(config)
    assert_same_run(config.out, straight.out)


def test_a_signal_while_loading_ends_before_the_first_step(straight, shards, model_folder, tmp_path, monkeypatch):
    config = make_config(tmp_path / "out", shards, model_folder)
    original = prepare.apply_stage

    def signalled(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    monkeypatch.setattr(prepare, "apply_stage", signalled)
    with pytest.raises(Requeue, match=rf"SIGTERM after step 0 of {straight.steps}; the same command"):
        train(config)
    assert latest_checkpoint(config.out / "checkpoints") is None
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    monkeypatch.undo()
    train(config)
    assert_same_run(config.out, straight.out)


def test_control_c_writes_a_checkpoint(straight, shards, model_folder, tmp_path, signal_after_step):
    config = make_config(tmp_path / "out", shards, model_folder)
    signal_after_step[3] = signal.SIGINT
    with pytest.raises(Interrupted) as caught:
        train(config)
    assert caught.value.code == 130
    assert latest_checkpoint(config.out / "checkpoints").name == "step-00000003"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    train(config)
    assert_same_run(config.out, straight.out)


def run_child(config: TrainConfig) -> multiprocessing.Process:
    child = multiprocessing.get_context("fork").Process(target=_train_in_child, args=(config,))
    child.start()
    return child


def _train_in_child(config: TrainConfig) -> None:
    sys.stderr = io.StringIO()
    train(config)


@pytest.mark.nightly
@pytest.mark.parametrize(("seed", "workers"), [(0, 0), (1, 0), (2, 1)])
def test_killed_at_random_times_and_resumed(shards, model_folder, tmp_path, seed, workers, long_straight):
    """SIGKILL three times in each run, at moments drawn over the whole of it: in a step, in a save, while starting."""
    config = long_config(tmp_path / "out", shards, model_folder, workers)
    metrics = config.out / "metrics.jsonl"
    rng = random.Random(seed)
    for lines in sorted(rng.sample(range(1, 40), 3)):
        child = run_child(config)
        while child.exitcode is None and (not metrics.is_file() or metrics.read_bytes().count(b"\n") < lines):
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
    last = run_child(config)
    last.join()
    assert last.exitcode == 0
    assert_same_run(config.out, long_straight)


def long_config(out, shards, model_folder, workers=0):
    return make_config(out, shards, model_folder, epochs=15, workers=workers, checkpoint={"every_steps": 3})


@pytest.fixture(scope="module")
def long_straight(shards, model_folder, tmp_path_factory):
    config = long_config(tmp_path_factory.mktemp("long") / "out", shards, model_folder)
    child = run_child(config)
    child.join()
    assert child.exitcode == 0
    return config.out


def _train_in_group(path: Path) -> None:
    """A group of processes of its own, which a signal to it does not lead back to the test."""
    os.setsid()
    _train_in_child(load_config(path))


def test_sigterm_ends_a_real_process_with_75(shards, model_folder, tmp_path):
    config = long_config(tmp_path / "out", shards, model_folder, workers=1)
    (tmp_path / "run.yaml").write_text(config.to_yaml().replace("epochs: 15", "epochs: 4000"))
    child = multiprocessing.get_context("fork").Process(target=_train_in_group, args=(tmp_path / "run.yaml",))
    child.start()
    try:
        deadline = time.monotonic() + 60
        while latest_checkpoint(config.out / "checkpoints") is None and time.monotonic() < deadline:
            time.sleep(0.05)
        # To the whole group, as schedulers and terminals do: the loader's workers must not die of it.
        os.killpg(child.pid, signal.SIGTERM)
        child.join(timeout=60)
        assert child.exitcode == 75
    finally:
        child.kill()
        child.join()
    newest = latest_checkpoint(config.out / "checkpoints")
    steps = [line["step"] for line in read_metrics(config.out / "metrics.jsonl")]
    assert newest is not None and steps[-1] == int(newest.name.removeprefix("step-"))


def test_a_run_from_a_preset_trains_its_own_tokenizer_and_resumes(shards, tmp_path, signal_after_step):
    config = make_config(
        tmp_path / "out", shards, tmp_path, tokens_per_pack=600, tokens_per_step=600, max_steps=2,
        checkpoint={"every_steps": 1},
    )  # fmt: skip
    small = {"vit": {"image_size": 56, "layers": [2]}, "cnn": {"image_size": 64}}
    model = ModelConfig.model_validate(
        {"preset": "tiny", "vocab_size": 381, "coordinates": "hundredths", "encoders": small, "token_merge": 1}
    )
    config = config.model_copy(update={"model": model, "loss": LossConfig(coordinate_spread=0.02)})
    signal_after_step[1] = signal.SIGTERM
    with pytest.raises(Requeue):
        train(config)
    made = (config.out / "model-init" / "tokenizer.json").stat().st_mtime_ns
    # As if it had been stopped before its first checkpoint: the model of the other seed lies there already.
    (config.out / "checkpoints").rename(tmp_path / "kept")
    with pytest.raises(UserError, match=r"model\.seed was 0 and is now 1"):
        train(config.model_copy(update={"model": model.model_copy(update={"seed": 1})}))
    shutil.rmtree(config.out / "checkpoints", ignore_errors=True)
    (tmp_path / "kept").rename(config.out / "checkpoints")
    result = train(config)
    assert result.steps == 2
    assert (config.out / "model-init" / "tokenizer.json").stat().st_mtime_ns == made
    trained = EarthGPTConfig.from_pretrained(result.model)
    assert (trained.image_size, trained.visual_tokens, trained.entry("vit").layers) == (64, 16, (2,))
    with pytest.raises(UserError, match=r"vit\.image_size is 57; set a positive multiple of 14"):
        model = ModelConfig.model_validate({"preset": "tiny", "encoders": {"vit": {"image_size": 57}}})
        train(config.model_copy(update={"model": model, "out": tmp_path / "odd"}))
    with pytest.raises(UserError, match=r"no preset 'huge'"):
        model = config.model.model_copy(update={"preset": "huge"})
        train(config.model_copy(update={"model": model, "out": tmp_path / "other"}))


def test_frozen_parameters_stay_as_they_were(shards, model_folder, tmp_path):
    config = make_config(
        tmp_path / "out", shards, model_folder, max_steps=2,
        stage={"trainable": [{"pattern": r"model\.projector\..*", "learning_rate": 1e-2}]},
    )  # fmt: skip
    result = train(config)
    before = EarthGPTForConditionalGeneration.from_pretrained(model_folder).state_dict()
    after = EarthGPTForConditionalGeneration.from_pretrained(result.model).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith("model.projector.") for name in changed)
    size = (result.checkpoint / "trainable.safetensors").stat().st_size
    assert size < (result.model / "model.safetensors").stat().st_size / 10


def test_any_checkpoint_becomes_a_model_folder(shards, model_folder, tmp_path):
    """The last one that of the run; an earlier one that of a run which ended there."""
    fixed = {"schedule": {"total_steps": 4}, "checkpoint": {"every_steps": 2, "keep_last": 5}}
    tuned = {"stage": {"tuning": {"kind": "bias"}, "trainable": [{"pattern": ".*_tune", "learning_rate": 1e-2}]}}
    run = train(make_config(tmp_path / "run", shards, model_folder, max_steps=4, **fixed, **tuned))
    short = train(make_config(tmp_path / "short", shards, model_folder, max_steps=2, **fixed, **tuned))
    for step, expected in ((2, short), (4, run)):
        checkpoint = run.out / "checkpoints" / f"step-{step:08d}"
        found = export_checkpoint(checkpoint, tmp_path / f"at-{step}")
        for name in ("model.safetensors", "training.json", "config.json"):
            assert (found / name).read_bytes() == (expected.model / name).read_bytes(), (step, name)
    with pytest.raises(UserError, match=r"exists already"):
        export_checkpoint(checkpoint, tmp_path / "at-4")
    with pytest.raises(UserError, match=r"no checkpoint of a run"):
        export_checkpoint(run.model, tmp_path / "other")


@pytest.mark.nightly
def test_a_run_may_be_lengthened_when_its_schedule_is_fixed(shards, model_folder, tmp_path):
    fixed = {"schedule": {"total_steps": 6}}
    train(make_config(tmp_path / "parts", shards, model_folder, max_steps=2, **fixed))
    train(make_config(tmp_path / "parts", shards, model_folder, max_steps=5, **fixed))
    train(make_config(tmp_path / "whole", shards, model_folder, max_steps=5, **fixed))
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


@pytest.mark.nightly
def test_a_damaged_checkpoint_ends_the_command_and_the_older_one_goes_on(straight, shards, model_folder, tmp_path):
    """One sentence names the file and the folder to delete; without that folder the run ends as the whole one did."""
    fixed = {"schedule": {"total_steps": 6}, "checkpoint": {"every_steps": 1, "keep_last": 5}}
    train(make_config(tmp_path / "run", shards, model_folder, max_steps=4, **fixed))
    config = make_config(tmp_path / "run", shards, model_folder, max_steps=6, **fixed)
    (tmp_path / "run.yaml").write_text(config.to_yaml())
    newest = tmp_path / "run" / "checkpoints" / "step-00000004"
    damaged = newest / "optimiser.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-5])
    words = ["--quiet", "train", str(tmp_path / "run.yaml")]
    refused = CliRunner().invoke(main, words)
    assert refused.exit_code == 1 and refused.output.count("\n") == 1
    assert f"checkpoint file {damaged} cannot be used: has another sha256" in refused.output
    assert f"to continue from step-00000003: rm -r {newest}" in refused.output
    shutil.rmtree(newest)
    resumed = train(config)
    assert resumed.resumed_from == 3
    train(make_config(tmp_path / "whole", shards, model_folder, max_steps=6, **fixed))
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_what_does_not_belong_to_the_run_is_refused(straight, shards, model_folder, tmp_path):
    def same(**changes):
        return make_config(straight.out, shards, model_folder, **changes)

    with pytest.raises(UserError, match=r"not empty.*--fresh"):
        train(same(), fresh=True)
    with pytest.raises(UserError, match=r"data.seed was 0 and is now 1"):
        train(same(data={"seed": 1}))
    other = make_shard_folder(tmp_path / "other", samples=20)
    with pytest.raises(UserError, match=r"data_set_id.*data.folders"):
        train(make_config(straight.out, other, model_folder))
    with pytest.raises(UserError, match=r"model.path"):
        train(make_config(tmp_path / "new", shards, tmp_path))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(UserError, match=r"no training run"):
        train(make_config(tmp_path / "photos", shards, model_folder))
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match=r"device=cpu"):
            train(make_config(tmp_path / "gpu", shards, model_folder, device="cuda"))


def test_another_model_under_a_running_run_is_refused(shards, tmp_path, signal_after_step):
    model = make_model_folder(tmp_path / "model")
    config = make_config(tmp_path / "out", shards, model)
    signal_after_step[1] = signal.SIGTERM
    with pytest.raises(Requeue):
        train(config)
    weights = bytearray((model / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (model / "model.safetensors").write_bytes(weights)
    with pytest.raises(UserError, match=r"base model"):
        train(config)


def test_two_processes_cannot_train_in_one_folder(shards, model_folder, tmp_path):
    config = make_config(tmp_path / "out", shards, model_folder)
    with run_lock(config.out):
        child = run_child(config)
        child.join()
    assert child.exitcode == 1
    assert not (config.out / "checkpoints").exists()


def test_broken_samples_are_counted_and_capped(model_folder, tmp_path):
    data = make_shard_folder(tmp_path / "data", broken=(4, 11))
    result = train(make_config(tmp_path / "out", data, model_folder, epochs=1))
    last = read_metrics(result.metrics)[-1]
    assert last["skipped_samples"] == 2 and last["samples"] >= 24
    with pytest.raises(RunFailure, match=r"could not be read"):
        train(
            make_config(
                tmp_path / "strict", data, model_folder, data={"max_skipped_samples": 1, "max_skipped_share": 0}
            )
        )


@pytest.mark.nightly
def test_training_overfits_a_few_samples(model_folder, tmp_path):
    data = make_shard_folder(tmp_path / "data", samples=4, shards=1)
    config = make_config(
        tmp_path / "out", data, model_folder, max_steps=60, tokens_per_step=320,
        stage={"trainable": [{"pattern": ".*", "learning_rate": 2e-2}]}, checkpoint={"every_steps": 100},
    )  # fmt: skip
    result = train(config)
    assert result.final_loss < 0.5 * read_metrics(result.metrics)[0]["loss"]
