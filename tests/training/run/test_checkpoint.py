"""Checkpoints are whole or absent, checked before use, and survive a full disk."""

from __future__ import annotations

import json
import pickle
import resource
import signal
import zipfile
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from mmrs.errors import RunFailure, UserError
from mmrs.storage.atomic import file_sha256, remove_temporaries, temporary_name
from tests.training.data.planning.test_plan import SETTINGS
from tests.training.micro import make_config
from training.config import OptimiserConfig, StageConfig
from training.data.planning.pointer import Pointer, Position
from training.run.checkpoint import (
    FILES,
    CheckpointWriter,
    complete_checkpoints,
    latest_checkpoint,
    load_checkpoint,
    take_snapshot,
    write_snapshot,
)
from training.stages.stage import apply_stage
from training.step.optim import build_optimiser


def make_optimiser(seed=0, width=40):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(width, 50), nn.LayerNorm(50))
    stage = StageConfig.model_validate({"trainable": [{"pattern": ".*", "learning_rate": 1e-2}]})
    optimiser = build_optimiser(apply_stage(model, stage), OptimiserConfig())
    model(torch.ones(2, width)).pow(2).mean().backward()
    optimiser.step()
    return optimiser


def tensors(optimiser):
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    states = [optimiser.state[parameter][key] for parameter in parameters for key in ("step", "exp_avg", "exp_avg_sq")]
    return [tensor.detach().clone() for tensor in parameters + states]


@pytest.fixture
def config(tmp_path):
    return make_config(tmp_path / "out", tmp_path, tmp_path, checkpoint={"keep_last": 2})


def save(folder, step, config, optimiser, base="base"):
    position = Position(step, Pointer(SETTINGS, "digest", 1, step))
    return write_snapshot(folder, take_snapshot(position, optimiser, config, base), config.checkpoint.keep_last)


def test_a_checkpoint_restores_everything_and_only_the_newest_stay(tmp_path, config):
    saved = make_optimiser(0)
    for step in (1, 9, 100):
        path = save(tmp_path, step, config, saved)
    assert [folder.name for folder in complete_checkpoints(tmp_path)] == ["step-00000009", "step-00000100"]
    assert sorted(file.name for file in path.iterdir()) == sorted([*FILES, "done.json"])
    other = make_optimiser(1)
    position = load_checkpoint(path, other, config, "base")
    assert position == Position(100, Pointer(SETTINGS, "digest", 1, 100))
    assert all(torch.equal(a, b) for a, b in zip(tensors(saved), tensors(other), strict=True))


def test_nothing_is_unpickled(tmp_path, config, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("pickle was used")

    for module, name in [(pickle, "load"), (pickle, "loads"), (pickle, "dump"), (pickle, "Unpickler"), (torch, "load")]:
        monkeypatch.setattr(module, name, refuse)
    path = save(tmp_path, 1, config, make_optimiser())
    assert load_checkpoint(path, make_optimiser(1), config, "base").step == 1
    assert not any(zipfile.is_zipfile(file) for file in path.iterdir())


@pytest.mark.parametrize("name", [*FILES, "done.json"])
def test_a_flipped_byte_is_refused_and_the_older_checkpoint_named(tmp_path, config, name):
    save(tmp_path, 1, config, make_optimiser())
    file = save(tmp_path, 2, config, make_optimiser()) / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    optimiser = make_optimiser(5)
    before = tensors(optimiser)
    with pytest.raises(RunFailure, match=r"step-00000002/.*step-00000001: rm -r") as caught:
        load_checkpoint(file.parent, optimiser, config, "base")
    assert name in str(caught.value) or name == "done.json"
    assert all(torch.equal(a, b) for a, b in zip(before, tensors(optimiser), strict=True))


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(tmp_path, config, name):
    path = save(tmp_path, 2, config, make_optimiser())
    (path / name).unlink()
    with pytest.raises(RunFailure, match=rf"{name} cannot be used: is missing.*start of the run"):
        load_checkpoint(path, make_optimiser(), config, "base")


def test_half_written_folders_are_ignored_and_cleared(tmp_path, config):
    good = save(tmp_path, 2, config, make_optimiser())
    unfinished = tmp_path / temporary_name("step-00000003")
    unfinished.mkdir()
    (unfinished / "done.json").write_text("{}")
    (tmp_path / "step-00000004").mkdir()
    (tmp_path / "step-00000004" / "trainable.safetensors").write_bytes(b"half")
    (tmp_path / "step-x").mkdir()
    assert latest_checkpoint(tmp_path) == good
    remove_temporaries(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-00000002", "step-00000004", "step-x"]
    assert latest_checkpoint(tmp_path) == good
    assert save(tmp_path, 4, config, make_optimiser()) == latest_checkpoint(tmp_path)


@contextmanager
def small_disk(largest_file_bytes):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("limit", [0, 3000, 10_000])
def test_a_full_disk_keeps_the_previous_checkpoint(tmp_path, config, limit):
    """The limit stops the process in the middle of one of the files, as a full disk would."""
    optimiser = make_optimiser()
    previous = save(tmp_path, 1, config, optimiser)
    digests = {file.name: file_sha256(file) for file in previous.iterdir()}
    with small_disk(limit), pytest.raises(RunFailure, match=r"step 2 could not be written.*step-00000001 is intact"):
        save(tmp_path, 2, config, optimiser)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("step")] == ["step-00000001"]
    assert digests == {file.name: file_sha256(file) for file in previous.iterdir()}
    assert load_checkpoint(previous, make_optimiser(3), config, "base").step == 1


def snapshot_of(step, config, optimiser):
    return take_snapshot(Position(step, Pointer(SETTINGS, "digest", 1, step)), optimiser, config, "base")


def test_a_snapshot_holds_the_moment_it_was_taken(tmp_path, config):
    """Training goes on while it is written."""
    optimiser = make_optimiser()
    before = tensors(optimiser)
    snapshot = snapshot_of(3, config, optimiser)
    optimiser.step()
    assert not all(torch.equal(a, b) for a, b in zip(before, tensors(optimiser), strict=True))
    with CheckpointWriter(tmp_path, keep_last=1) as writer:
        writer.start(snapshot)
        path = writer.wait()
    other = make_optimiser(1)
    load_checkpoint(path, other, config, "base")
    assert all(torch.equal(a, b) for a, b in zip(before, tensors(other), strict=True))


def test_a_failure_in_the_background_is_raised_and_keeps_the_previous(tmp_path, config):
    optimiser = make_optimiser()
    with CheckpointWriter(tmp_path, keep_last=1) as writer:
        writer.start(snapshot_of(1, config, optimiser))
        writer.wait()
        assert writer.failed() is None
        with small_disk(3000):
            writer.start(snapshot_of(2, config, optimiser))
            with pytest.raises(RunFailure, match=r"step 2 could not be written.*step-00000001 is intact"):
                writer.wait()
        assert "step 2" in str(writer.failed())
        with pytest.raises(RunFailure, match=r"step 2"):
            writer.start(snapshot_of(3, config, optimiser))
    assert load_checkpoint(latest_checkpoint(tmp_path), make_optimiser(3), config, "base").step == 1


def test_checkpoints_named_by_the_caller_stay(tmp_path, config):
    for step in (1, 2, 3, 4):
        write_snapshot(tmp_path, snapshot_of(step, config, make_optimiser()), keep_last=1, keep=[2])
    assert [path.name for path in complete_checkpoints(tmp_path)] == ["step-00000002", "step-00000004"]


def test_another_base_model_or_configuration_is_refused(tmp_path, config):
    path = save(tmp_path, 1, config, make_optimiser())
    with pytest.raises(UserError, match=r"base model"):
        load_checkpoint(path, make_optimiser(), config, "another")
    with pytest.raises(UserError, match=r"optimiser.weight_decay"):
        changed = make_config(tmp_path / "out", tmp_path, tmp_path, optimiser={"weight_decay": 0.5})
        load_checkpoint(path, make_optimiser(), changed, "base")


OPTIMISERS = {
    "momentum": lambda groups: torch.optim.SGD(groups, momentum=0.9, nesterov=True),
    "no-state": lambda groups: torch.optim.SGD(groups),
    "factored": lambda groups: torch.optim.Adafactor(groups),
    "more-moments": lambda groups: torch.optim.NAdam(groups, momentum_decay=0.1),
    "state-from-the-start": lambda groups: torch.optim.Adagrad(groups, initial_accumulator_value=0.1),
    "largest-moment": lambda groups: torch.optim.AdamW(groups, amsgrad=True, weight_decay=0.1),
    "fused": lambda groups: torch.optim.AdamW(groups, fused=True),
    "sign": lambda groups: torch.optim.Rprop(groups),
}


def make_other(kind, seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5))
    named = list(model.named_parameters())
    group = {"params": [value for _, value in named], "names": [name for name, _ in named], "lr": 0.02}
    return model, OPTIMISERS[kind]([group])


def steps_of(model, optimiser, first, last):
    for step in range(first, last):
        torch.manual_seed(step)
        optimiser.zero_grad()
        model(torch.randn(3, 4)).sub(torch.randn(3, 5)).pow(2).mean().backward()
        optimiser.step()
    return [value.detach().clone() for value in model.parameters()]


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_any_optimiser_goes_on_to_the_same_bits(tmp_path, config, kind):
    straight = steps_of(*make_other(kind, 0), 0, 7)
    model, optimiser = make_other(kind, 0)
    steps_of(model, optimiser, 0, 3)
    path = save(tmp_path, 3, config, optimiser)
    resumed, other = make_other(kind, 1)
    load_checkpoint(path, other, config, "base")
    assert [group["lr"] for group in other.param_groups] == [0.02]
    assert all(value.grad is None for value in resumed.parameters())
    found = steps_of(resumed, other, 3, 7)
    assert all(torch.equal(a, b) for a, b in zip(straight, found, strict=True))


def test_the_state_of_another_optimiser_is_refused(tmp_path, config):
    model, optimiser = make_other("momentum", 0)
    steps_of(model, optimiser, 0, 1)
    path = save(tmp_path, 1, config, optimiser)
    other, adafactor = make_other("factored", 1)
    before = [value.detach().clone() for value in other.parameters()]
    with pytest.raises(RunFailure, match=r"optimiser.safetensors cannot be used: .*momentum_buffer|.*_var"):
        load_checkpoint(path, adafactor, config, "base")
    assert all(torch.equal(a, b) for a, b in zip(before, other.parameters(), strict=True))


def test_state_that_is_no_tensor_is_named(tmp_path, config):
    optimiser = make_optimiser()
    optimiser.state[optimiser.param_groups[0]["params"][0]]["step"] = 3
    with pytest.raises(RunFailure, match=r"AdamW keeps step of 0.weight as int"):
        save(tmp_path, 1, config, optimiser)


def resign(path):
    digests = {name: file_sha256(path / name) for name in FILES}
    (path / "done.json").write_text(json.dumps({"sha256": digests}))


@pytest.mark.parametrize("change", [{"step": -1}, {"step": "1"}, {"format": "x"}, {"pointer": {}}, {"extra": 1}])
def test_a_crafted_state_is_refused(tmp_path, config, change):
    path = save(tmp_path, 1, config, make_optimiser())
    state = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps(state | change))
    resign(path)
    with pytest.raises(RunFailure, match=r"state.json cannot be used"):
        load_checkpoint(path, make_optimiser(), config, "base")


@pytest.mark.parametrize("name", ["trainable.safetensors", "optimiser.safetensors"])
@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"\xff" * 100])
def test_a_crafted_tensor_file_is_refused(tmp_path, config, name, content):
    path = save(tmp_path, 1, config, make_optimiser())
    (path / name).write_bytes(content)
    resign(path)
    with pytest.raises(RunFailure, match=rf"{name} cannot be used"):
        load_checkpoint(path, make_optimiser(), config, "base")


def test_tensors_of_another_model_are_refused(tmp_path, config):
    path = save(tmp_path, 1, config, make_optimiser(width=41))
    with pytest.raises(RunFailure, match=r"0.weight has shape \(50, 41\), the model's has \(50, 40\)"):
        load_checkpoint(path, make_optimiser(), config, "base")


def test_names_outside_the_folder_are_not_followed(tmp_path, config):
    path = save(tmp_path, 1, config, make_optimiser())
    done = json.loads((path / "done.json").read_text())
    done["sha256"]["../../etc/passwd"] = "0"
    (path / "done.json").write_text(json.dumps(done))
    with pytest.raises(RunFailure, match=r"does not name the files"):
        load_checkpoint(path, make_optimiser(), config, "base")
