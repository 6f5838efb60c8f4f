"""Whole runs on a GPU: sparse attention, compiled layers, a frozen base in bf16, and resuming."""

from __future__ import annotations

import json

import pytest
import torch

from tests.training.micro import make_config
from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor, weights_digest
from training.model.language.bias_scale import tuned_vectors
from training.report.monitor import read_metrics
from training.run.checkpoint import latest_checkpoint
from training.run.train import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU on this machine")

TUNING = {
    "tuning": {"kind": "bias-scale"},
    "trainable": [{"pattern": r"model\.language_model\..*_tune", "learning_rate": 1e-2}],
}


def losses(out) -> list[float]:
    return [line["loss"] for line in read_metrics(out / "metrics.jsonl") if "loss" in line]


@pytest.fixture(scope="module")
def on_cpu(shards, model_folder, tmp_path_factory):
    """Losses of the run on a CPU in fp32."""
    return losses(train(make_config(tmp_path_factory.mktemp("cpu") / "out", shards, model_folder)).out)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "flex"])
def test_a_run_follows_that_on_a_cpu(shards, model_folder, tmp_path, on_cpu, attention, compiled):
    parallel = {"attention": attention, "compile": compiled}
    config = make_config(tmp_path / "out", shards, model_folder, device="cuda", parallel=parallel)
    result = train(config)
    # bf16 products against fp32.
    assert losses(result.out) == pytest.approx(on_cpu, rel=0.03)


@pytest.mark.parametrize("checkpointing", ["selective", "full"])
def test_activation_checkpointing_changes_nothing_but_memory(shards, model_folder, tmp_path, on_cpu, checkpointing):
    parallel = {"activation_checkpointing": checkpointing, "compile": True}
    config = make_config(tmp_path / "out", shards, model_folder, device="cuda", parallel=parallel)
    assert losses(train(config).out) == pytest.approx(on_cpu, rel=0.03)


def test_tuning_leaves_the_bf16_base_as_it_is(shards, model_folder, tmp_path):
    config = make_config(tmp_path / "out", shards, model_folder, device="cuda", stage=TUNING, epochs=8)
    result = train(config)
    found = losses(result.out)
    assert sum(found[-4:]) < sum(found[:4])
    model = EarthGPTForConditionalGeneration.from_pretrained(result.model)
    assert all(vector.dtype == torch.float32 for vector in tuned_vectors(model).values())
    base = EarthGPTForConditionalGeneration.from_pretrained(model_folder, dtype=torch.bfloat16)
    assert weights_digest(model.to(torch.bfloat16)) == weights_digest(base)


def test_stopped_and_resumed_it_ends_where_it_would_have(shards, model_folder, tmp_path):
    schedule = {"total_steps": 9}
    straight = make_config(tmp_path / "a", shards, model_folder, device="cuda", schedule=schedule, max_steps=9)
    train(straight)
    for steps in (3, 6, 9):
        part = make_config(tmp_path / "b", shards, model_folder, device="cuda", schedule=schedule, max_steps=steps)
        train(part)
    # Kernels on a GPU add in any order; the data and the schedule must be the same.
    assert losses(tmp_path / "b") == pytest.approx(losses(tmp_path / "a"), rel=1e-3)
    states = [
        json.loads((latest_checkpoint(tmp_path / name / "checkpoints") / "state.json").read_text()) for name in "ab"
    ]
    assert states[0]["pointer"] == states[1]["pointer"]


def test_generation_on_a_gpu_says_what_it_says_on_a_cpu(model_folder):
    processor = EarthGPTProcessor.from_pretrained(model_folder)
    model = EarthGPTForConditionalGeneration.from_pretrained(model_folder).eval()
    inputs = processor(text=["What is the colour?", "Describe the square."])
    expected = model.generate(**inputs, max_new_tokens=8, do_sample=False)
    moved = {name: value.cuda() if torch.is_tensor(value) else value for name, value in inputs.items()}
    assert torch.equal(model.cuda().generate(**moved, max_new_tokens=8, do_sample=False).cpu(), expected)
