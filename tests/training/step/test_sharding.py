"""Many ranks are one: real processes over gloo end with the weights of a single one."""

from __future__ import annotations

import json
import math
import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode

from mmrs.errors import RunFailure, UserError
from tests.training.micro import make_config
from tests.training.ranks import run_ranks
from tests.training.run.test_loop import make_units, pack_of
from training.config import ParallelConfig
from training.data.collate import EncodedDialogue, EncodedUnit, collate_packs
from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor
from training.report.monitor import Monitor, read_metrics
from training.run.checkpoint import latest_checkpoint
from training.run.train import train
from training.stages.stage import apply_stage
from training.step.optim import build_optimiser
from training.step.ranks import Ranks, open_ranks
from training.step.sharding import check_ranks, current_rows, gathered, parallelize, sum_gradients
from training.step.step import TargetLabels, Training, optimiser_step


@pytest.fixture(scope="module", autouse=True)
def light():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        # Drawing takes longer than these runs.
        patch.setattr("training.run.train.plot_run", lambda out, image: None)
        yield
    torch.set_num_threads(before)


def config_of(out: Path, shards: Path, model_folder: Path, mode: str = "replicate", ranks_per_replica=None, **changes):
    changes.setdefault("tokens_per_step", 1280)
    # What all ranks together must know of a step; the plain loss is that of the steps below.
    changes.setdefault("loss", {"balance": "task", "weights": {"captioning": 2.0}})
    changes.setdefault("data", {"augment": {"dihedral": True, "noise": 2}})
    # The gradient of an attention's key bias is zero but for rounding, which Adam would scale up to whole steps.
    changes.setdefault("optimiser", {"epsilon": 1e-5})
    return make_config(
        out, shards, model_folder, parallel={"mode": mode, "ranks_per_replica": ranks_per_replica}, epochs=4, **changes
    )


@pytest.fixture(scope="module")
def single(shards, model_folder, tmp_path_factory):
    return train(config_of(tmp_path_factory.mktemp("single") / "out", shards, model_folder))


def assert_equal_to(single, out: Path) -> None:
    """Weights, optimiser state, pointer and losses agree to 1e-6 in fp32."""
    checkpoints = [latest_checkpoint(folder / "checkpoints") for folder in (single.out, out)]
    for name in ("trainable.safetensors", "optimiser.safetensors"):
        expected, found = (load_file(path / name) for path in checkpoints)
        assert found.keys() == expected.keys()
        for key in expected:
            torch.testing.assert_close(found[key], expected[key], rtol=0, atol=1e-6, msg=key)
    states = [json.loads((path / "state.json").read_text()) for path in checkpoints]
    assert states[0] == states[1]
    expected, found = (read_metrics(folder / "metrics.jsonl") for folder in (single.out, out))
    assert [line["step"] for line in found] == [line["step"] for line in expected]
    for line, wanted in zip(found, expected, strict=True):
        for name in ("loss", "gradient_norm"):
            assert line[name] == pytest.approx(wanted[name], abs=1e-5)
        for name in ("target_tokens", "input_tokens", "samples", "epoch", "padding_share", "augmented"):
            assert line[name] == wanted[name]
        assert line["task_loss"] == pytest.approx(wanted["task_loss"], abs=1e-5)


def assert_model_saved(single, out: Path) -> None:
    expected, found = (
        EarthGPTForConditionalGeneration.from_pretrained(folder / "model").state_dict() for folder in (single.out, out)
    )
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-6)


@pytest.mark.nightly
def test_two_ranks_end_as_one(single, shards, model_folder, tmp_path):
    config = config_of(tmp_path / "out", shards, model_folder)
    assert run_ranks(2, train, config, log=tmp_path) == [0, 0], (tmp_path / "rank-1.txt").read_text()
    assert_equal_to(single, config.out)
    assert_model_saved(single, config.out)
    assert single.augmented["noise"] == 1 and 0.3 < single.augmented["dihedral"] < 1
    assert "2 ranks, 2 packs of each" in (tmp_path / "rank-0.txt").read_text()
    assert (tmp_path / "rank-1.txt").read_text() == ""


@pytest.mark.nightly
def test_shards_and_their_copies_end_as_one(single, shards, model_folder, tmp_path):
    """Two copies of the model, each spread over two ranks."""
    config = config_of(tmp_path / "out", shards, model_folder, "fsdp", ranks_per_replica=2)
    assert run_ranks(4, train, config, log=tmp_path) == [0] * 4, (tmp_path / "rank-3.txt").read_text()
    assert_equal_to(single, config.out)
    assert_model_saved(single, config.out)


def stop_after(step: int, signalled_rank: int, config) -> None:
    """Train until a signal reaches one rank after `step`; then no rank may go on."""
    original = Monitor.step

    def report(self, line):
        original(self, line)
        if line.step == step and int(os.environ.get("RANK", "0")) == signalled_rank:
            os.kill(os.getpid(), signal.SIGUSR1)

    Monitor.step = report
    train(config)


@pytest.mark.nightly
def test_a_run_goes_on_with_other_ranks_and_layouts(single, shards, model_folder, tmp_path):
    """Sharded over two ranks, then alone, then replicated on two, then sharded again; stopped by a signal to one."""
    out = tmp_path / "out"
    for step, size, mode in [(1, 2, "fsdp"), (2, 1, "replicate"), (3, 2, "replicate")]:
        config = config_of(out, shards, model_folder, mode)
        codes = run_ranks(size, stop_after, step, size - 1, config, log=tmp_path / f"log-{step}")
        assert codes == [75] * size
        assert latest_checkpoint(out / "checkpoints").name == f"step-{step:08d}"
    assert run_ranks(2, train, config_of(out, shards, model_folder, "fsdp"), log=tmp_path / "last") == [0, 0]
    assert_equal_to(single, out)


class Reductions(TorchDispatchMode):
    """Counts how often gradients are reduced and scattered; the operation's name differs between versions of torch."""

    count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.count += "reduce_scatter" in str(operation)
        return operation(*args, **(kwargs or {}))


def uneven_step(folder: Path, config, mode: str, broken: bool, result: Path) -> None:
    """One step in which one rank has images, and the other a pack of text and one of nothing but padding."""
    processor = EarthGPTProcessor.from_pretrained(folder)
    with open_ranks("cpu") as ranks:
        model = EarthGPTForConditionalGeneration.from_pretrained(folder)
        rows = apply_stage(model, config.stage)
        layout = ParallelConfig(mode=mode.split()[0], sum_every_pack="every pack" in mode)
        prepared = parallelize(model, layout, ranks)
        training = Training(
            config=config.model_copy(update={"parallel": layout}),
            model=model,
            optimiser=build_optimiser(current_rows(rows, model), config.optimiser),
            labels=TargetLabels(("a", "b", "c")),
            ranks=ranks,
            prepared=prepared,
        )
        packs = uneven_packs(processor)
        if broken:
            prepared.register_forward_hook(poison)
        with Reductions() as seen:
            outcome = optimiser_step(training, packs[ranks.rank :: ranks.size], 3)
        if mode.startswith("fsdp") and ranks.size > 1:
            # Once for each layer and once for all the rest, however many packs the step has.
            assert seen.count == (len(model.language_model.layers) + 1) * (2 if layout.sum_every_pack else 1)
            assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
        gradients = {name: gathered(parameter.grad) for name, parameter in model.named_parameters()}
        if ranks.is_first:
            save_file(gradients | {"loss": torch.tensor(outcome.loss)}, result / f"{ranks.size}.safetensors")


def poison(module, given, losses_T):
    return losses_T * (math.nan if "sample-3" in given[0].sample_ids else 1)


def uneven_packs(processor):
    """An image pack for rank 0, text for rank 1, an image pack for rank 0, padding for rank 1."""
    units = make_units(processor)
    text = pack_of(processor, units[:3], 600)
    dialogue = EncodedDialogue(*processor.encode_dialogue([("human", "Which colour?"), ("gpt", "blue")]), 1)
    no_image = collate_packs([EncodedUnit("text-0", units[0].pixels_CHW, (dialogue,))], [1], 600, 2, 32)
    no_image = replace(no_image, pixel_values_NCHW=no_image.pixel_values_NCHW[:0])
    return [text, no_image, pack_of(processor, units[3:], 600), collate_packs([], [1], 600, 2, 32)]


@pytest.mark.nightly
@pytest.mark.parametrize("mode", ["replicate", "fsdp", "fsdp every pack"])
def test_ranks_without_images_or_targets_take_part(model_folder, tmp_path, mode):
    config = make_config(tmp_path / "out", tmp_path, model_folder)
    for size in (1, 2):
        codes = run_ranks(size, uneven_step, model_folder, config, mode, False, tmp_path, log=tmp_path / str(size))
        assert codes == [0] * size
    expected, found = (load_file(tmp_path / f"{size}.safetensors") for size in (1, 2))
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-6, msg=name)


def failing_step(folder: Path, config, log: Path) -> None:
    with pytest.raises(RunFailure) as caught:
        uneven_step(folder, config, "replicate", True, log)
    (log / f"{os.environ['RANK']}.txt").write_text(str(caught.value))


@pytest.mark.nightly
def test_a_loss_that_is_not_finite_on_one_rank_is_named_on_all(model_folder, tmp_path):
    config = make_config(tmp_path / "out", tmp_path, model_folder)
    assert run_ranks(2, failing_step, model_folder, config, tmp_path, log=tmp_path) == [0, 0]
    messages = {(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)}
    assert len(messages) == 1
    assert re.search(r"step 3: loss nan.*loss that is not finite: sample-3 \(rank 0\), sample-4", messages.pop())


def refused(config, message: str) -> None:
    with pytest.raises(UserError, match=message):
        train(config)


def test_a_mistake_that_rank_0_sees_ends_every_rank(shards, model_folder, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    config = config_of(tmp_path / "photos", shards, model_folder)
    assert run_ranks(2, refused, config, "no training run", log=tmp_path) == [0, 0]


def test_what_does_not_divide_is_refused(shards, model_folder, tmp_path):
    config = config_of(tmp_path / "out", shards, model_folder, tokens_per_step=1920)
    assert check_ranks(config, Ranks(0, 3)) == 2
    with pytest.raises(UserError, match=r"6 packs, which 4 ranks.*Start 1, 2, 3 ranks.*=1280 or 2560"):
        check_ranks(config, Ranks(0, 4))
    sharded = config.model_copy(update={"parallel": ParallelConfig(mode="fsdp", ranks_per_replica=2)})
    with pytest.raises(UserError, match=r"ranks_per_replica=2 does not divide 3"):
        check_ranks(sharded, Ranks(0, 3))


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE='two'"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK=2 is none of WORLD_SIZE=2"),
        ({"WORLD_SIZE": "2", "RANK": "1"}, "MASTER_ADDR is not set"),
    ],
)
def test_a_broken_environment_is_refused(monkeypatch, variables, message):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message), open_ranks("cpu"):
        pass


def test_unused_parameters_get_zeros():
    parameters = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))]
    parameters[0].grad = torch.ones(2)
    sum_gradients(parameters, Ranks())
    assert torch.equal(parameters[1].grad, torch.zeros(3)) and torch.equal(parameters[0].grad, torch.ones(2))
