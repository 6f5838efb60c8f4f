"""Masters and packed moments: fp32 is torch's own update, bf16 parameters follow their masters, 8 bits stay near, and
whole runs resume bit for bit."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from mmrs.errors import UserError
from tests.training.micro import make_config
from training.model import EarthGPTForConditionalGeneration
from training.report.model_report import inspect
from training.report.monitor import read_metrics
from training.run.train import train
from training.step.adamw import LEAST_PACKED, MASTER, MasterAdamW, bytes_per_parameter

EVERYTHING = {"trainable": [{"set": "everything", "learning_rate": 3e-3}]}


def fitted(optimiser_of, dtype=torch.float32, steps=30):
    """A regression by an optimiser; the weight after it and the state."""
    generator = torch.Generator().manual_seed(0)
    wanted = torch.randn(64, 96, generator=generator)
    weight = nn.Parameter(torch.zeros(64, 96, dtype=dtype))
    optimiser = optimiser_of([weight], lr=1e-2, weight_decay=0.01)
    for _ in range(steps):
        given = torch.randn(32, 96, generator=generator)
        weight.grad = None
        ((given @ (weight.float() - wanted).T) ** 2).mean().backward()
        optimiser.step()
    return weight.detach(), optimiser.state[weight]


def test_in_fp32_it_is_the_update_of_torch():
    expected, _ = fitted(torch.optim.AdamW)
    found, state = fitted(MasterAdamW)
    assert torch.equal(found, expected) and MASTER not in state


def test_parameters_of_bf16_follow_masters_that_small_updates_reach():
    expected, _ = fitted(torch.optim.AdamW)
    found, state = fitted(MasterAdamW, torch.bfloat16)
    assert found.dtype == torch.bfloat16 and torch.equal(found, state[MASTER].bfloat16())
    torch.testing.assert_close(state[MASTER], expected, rtol=0, atol=5e-3)
    # 1 + 1e-4 is no number of bf16: only a master can get there.
    weight = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    optimiser = MasterAdamW([weight], lr=1e-4, weight_decay=0.0)
    for _ in range(50):
        weight.grad = torch.full_like(weight, -1.0)
        optimiser.step()
    assert torch.allclose(optimiser.state[weight][MASTER], torch.tensor(1.005), atol=1e-4) and (weight > 1).all()


def test_moments_of_eight_bits_stay_near_and_take_a_quarter():
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed (pip install 'mmrs[qlora]')")
    expected, plain = fitted(torch.optim.AdamW)
    found, state = fitted(lambda *a, **k: MasterAdamW(*a, eight_bit=True, **k))
    assert expected.numel() >= LEAST_PACKED and state["exp_avg"].dtype == torch.uint8
    assert (found - expected).norm() < 0.05 * expected.norm()
    taken = sum(value.numel() * value.element_size() for name, value in state.items() if name != "step")
    assert taken == pytest.approx(bytes_per_parameter(torch.float32, expected.numel(), True) * expected.numel())
    assert taken < 0.26 * sum(value.numel() * 4 for name, value in plain.items() if name != "step")


@pytest.mark.nightly
@pytest.mark.parametrize(
    "optimiser", [{"weights": "bf16"}, {"moments": "8bit"}, {"weights": "bf16", "moments": "8bit"}], ids=str
)
def test_a_run_resumes_bit_for_bit_and_learns_as_in_fp32(shards, model_folder, tmp_path, monkeypatch, optimiser):
    if "moments" in optimiser:
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed (pip install 'mmrs[qlora]')")
        monkeypatch.setattr("training.step.adamw.LEAST_PACKED", 256)
    monkeypatch.setattr("training.run.train.plot_run", lambda out, image: None)
    options = {"stage": EVERYTHING, "tokens_per_step": 320, "max_steps": 4, "checkpoint": {"keep_last": 9}}
    fp32 = train(make_config(tmp_path / "fp32", shards, model_folder, **options))
    straight = train(make_config(tmp_path / "straight", shards, model_folder, optimiser=optimiser, **options))
    losses = [[line["loss"] for line in read_metrics(run.metrics)] for run in (fp32, straight)]
    assert losses[1] == pytest.approx(losses[0], rel=0.02) and losses[1][-1] < losses[1][0]
    resumed = make_config(tmp_path / "resumed", shards, model_folder, optimiser=optimiser, **options)
    shutil.copytree(straight.out, resumed.out)
    for gone in ("checkpoints/step-00000004", "model"):
        shutil.rmtree(resumed.out / gone)
    assert train(resumed).resumed_from == 2
    for name in ("trainable.safetensors", "optimiser.safetensors"):
        path = f"checkpoints/step-00000004/{name}"
        assert (resumed.out / path).read_bytes() == (straight.out / path).read_bytes()
    kept = load_file(straight.checkpoint / "trainable.safetensors")
    assert all((value.dtype == torch.bfloat16) == ("weights" in optimiser) for value in kept.values())
    EarthGPTForConditionalGeneration.from_pretrained(straight.model)


def test_inspect_predicts_what_the_state_takes(model_folder, shards, tmp_path):
    model = EarthGPTForConditionalGeneration.from_pretrained(model_folder)
    sizes = [value.numel() for value in model.parameters()]
    for optimiser, weight_bytes in (({"weights": "bf16", "moments": "8bit"}, 2), ({}, 4)):
        config = make_config(tmp_path / "run", shards, model_folder, stage=EVERYTHING, optimiser=optimiser, max_steps=1)
        dtype = torch.bfloat16 if weight_bytes == 2 else torch.float32
        state = sum(bytes_per_parameter(dtype, size, weight_bytes == 2) * size for size in sizes)
        weights = f"{sum(sizes) * weight_bytes / 1e9:.3g} GB"
        said = inspect(str(model_folder), config)
        assert f"state: weights {weights}, gradients {weights}, AdamW {state / 1e9:.3g} GB" in said


def test_eight_bits_without_their_library_or_sharded_are_refused(model_folder, shards, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="moments=8bit cannot be sharded"):
        make_config(tmp_path, shards, model_folder, optimiser={"moments": "8bit"}, parallel={"mode": "fsdp"})
    monkeypatch.setattr("training.step.optim.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"moments=8bit needs bitsandbytes: pip install 'mmrs\[qlora\]'"):
        train(make_config(tmp_path / "run", shards, model_folder, optimiser={"moments": "8bit"}, max_steps=1))
