"""Bases of half precision train on a CPU too, whatever the stage; a quantised model sees its images."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmrs.errors import UserError
from tests.training.micro import make_config
from training.config import StageConfig
from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor
from training.report.monitor import read_metrics
from training.run.train import train
from training.stages.stage import add_tuned_parameters

STAGES = {
    "stage A": {"trainable": [{"set": name, "learning_rate": 1e-3} for name in ("projector", "attention", "norms")]},
    "projector": {"trainable": [{"pattern": r"model\.projector\.linear\..*", "learning_rate": 1e-3}]},
    "stage B": {"tuning": {"kind": "bias-scale"}, "trainable": [{"set": "vectors", "learning_rate": 1e-3}]},
    "encoders": {"trainable": [{"set": "encoders", "learning_rate": 1e-3}]},
    "everything": {"trainable": [{"set": "everything", "learning_rate": 1e-3}]},
}


@pytest.fixture(autouse=True)
def light(monkeypatch):
    monkeypatch.setattr("training.run.train.plot_run", lambda out, image: None)


@pytest.fixture(scope="module")
def half_folder(model_folder, tmp_path_factory):
    """Function of a dtype: the model folder in it."""

    def make(dtype):
        folder = tmp_path_factory.mktemp(str(dtype))
        EarthGPTForConditionalGeneration.from_pretrained(model_folder).to(dtype).save_pretrained(folder)
        EarthGPTProcessor.from_pretrained(model_folder).save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="module")
def losses(model_folder, shards, tmp_path_factory):
    """Those of the fp32 base in each step of stage A."""
    out = tmp_path_factory.mktemp("fp32") / "run"
    train(make_config(out, shards, model_folder, max_steps=3, stage=STAGES["stage A"]))
    return [line["loss"] for line in read_metrics(out / "metrics.jsonl")]


@pytest.mark.parametrize(
    ("stage", "dtype"), [*((stage, torch.bfloat16) for stage in STAGES), ("stage A", torch.float16)], ids=str
)
def test_a_base_of_half_precision_trains_on_a_cpu(half_folder, shards, losses, tmp_path, stage, dtype):
    folder = half_folder(dtype)
    config = make_config(tmp_path / "run", shards, folder, max_steps=3, stage=STAGES[stage])
    result = train(config)
    found = [line["loss"] for line in read_metrics(result.metrics)]
    assert found[0] == pytest.approx(losses[0], rel=0.02)
    before = EarthGPTForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).state_dict()
    after = EarthGPTForConditionalGeneration.from_pretrained(result.model, dtype=torch.float32).state_dict()
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    frozen = {"stage B": "", "projector": "model.projector.linear", "encoders": "model.vision"}.get(stage)
    assert bool(moved) == (stage != "stage B")
    assert frozen is None or all(name.startswith(frozen) for name in moved)


class EightBitLinear(nn.Linear):
    """A layer as quantisation libraries leave it: an integer matrix, one scale a row, a floating bias."""

    def __init__(self, plain: nn.Linear):
        super().__init__(plain.in_features, plain.out_features, device="meta")
        scale_O = plain.weight.detach().abs().amax(1).clamp(min=1e-8) / 127
        codes_OI = (plain.weight.detach() / scale_O[:, None]).round().to(torch.int8)
        self.weight = nn.Parameter(codes_OI, requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(plain.out_features) if plain.bias is None else plain.bias.detach())
        self.register_buffer("scale_O", scale_O)

    def forward(self, x):
        return nn.functional.linear(x, self.weight.to(x.dtype) * self.scale_O[:, None].to(x.dtype), self.bias)


@torch.no_grad()
def test_a_quantised_model_sees_its_images(model_folder):
    plain, quantised = (EarthGPTForConditionalGeneration.from_pretrained(model_folder).eval() for _ in range(2))
    for name, module in list(quantised.named_modules()):
        if isinstance(module, nn.Linear) and name != "lm_head":
            quantised.set_submodule(name, EightBitLinear(module))
    # An encoder whose first parameter is one of the integers.
    first = next(iter(quantised.vision.vit.parameters()))
    assert first.is_floating_point() and not quantised.projector.linear.weight.is_floating_point()
    pixels = torch.arange(2 * 3 * 32 * 32).to(torch.uint8).view(2, 3, 32, 32)
    expected, found = (model.get_image_features(pixels).pooler_output for model in (plain, quantised))
    assert (found - expected).norm() < 0.05 * expected.norm()


def test_quantised_layers_take_no_vectors(model_folder):
    model = EarthGPTForConditionalGeneration.from_pretrained(model_folder)
    path = "model.language_model.layers.1.mlp.up_proj"
    model.set_submodule(path, EightBitLinear(model.get_submodule(path)))
    with pytest.raises(UserError, match=rf"{path} is quantised \(torch.int8\).*kind=lora"):
        add_tuned_parameters(model, StageConfig.model_validate(STAGES["stage B"]), 0)
    assert model.config.tuning is None and not any("_tune" in name for name, _ in model.named_parameters())
