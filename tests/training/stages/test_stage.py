"""A stage decides what trains; a rule without effect is an error."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from mmrs.errors import UserError
from training.config import OptimiserConfig, ScheduleConfig, StageConfig
from training.model import EarthGPTForConditionalGeneration
from training.stages.stage import apply_stage, freeze_report
from training.step.optim import build_optimiser, learning_rate_factor, set_learning_rate


def make_model() -> nn.Module:
    return nn.ModuleDict(
        {"vision": nn.Linear(2, 3), "text": nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))}
    ).bfloat16()


def stage(*rules: tuple[str, float]) -> StageConfig:
    return StageConfig(trainable=tuple({"pattern": pattern, "learning_rate": rate} for pattern, rate in rules))


def test_matching_parameters_train_in_fp32_and_the_rest_is_frozen():
    model = make_model()
    rows = apply_stage(model, stage((r"text\.1\..*", 1e-3)))
    assert {row.name for row in rows if row.learning_rate} == {"text.1.weight", "text.1.bias"}
    for row in rows:
        assert row.parameter.requires_grad == (row.learning_rate is not None)
        assert row.parameter.dtype == (torch.float32 if row.learning_rate else torch.bfloat16)


def test_the_first_rule_that_matches_decides():
    rows = apply_stage(make_model(), stage((r".*bias", 1.0), (r"text\..*", 2.0)))
    rates = {row.name: row.learning_rate for row in rows}
    assert rates["text.0.bias"] == 1.0 and rates["text.0.weight"] == 2.0 and rates["vision.weight"] is None


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([("nothing", 1.0)], "'nothing' matches no parameter"),
        ([("text", 1.0)], r"text\.0\.weight.*'\.\*text\.\*'"),
        ([(r"text\..*", 1.0), (r"text\.0\..*", 1.0)], "earlier rules"),
    ],
)
def test_a_rule_without_effect_is_an_error(rules, message):
    with pytest.raises(UserError, match=message):
        apply_stage(make_model(), stage(*rules))


def test_the_freeze_report_counts_per_module():
    report = freeze_report(apply_stage(make_model(), stage((r"text\.1\..*", 1e-3)))).splitlines()
    assert report[0].split() == ["module", "parameters", "trainable", "dtype", "learning", "rate"]
    assert report[-1].split() == ["total", "27", "6", "bfloat16,", "float32", "0.001"]
    assert any(line.split()[:3] == ["text.1", "6", "6"] for line in report)


def test_weight_decay_spares_norms_and_biases():
    optimiser = build_optimiser(apply_stage(make_model(), stage((".*", 1e-3))), OptimiserConfig(weight_decay=0.1))
    decay = {name: group["weight_decay"] for group in optimiser.param_groups for name in group["names"]}
    assert decay["text.0.weight"] == decay["vision.weight"] == 0.1
    assert decay["text.0.bias"] == decay["text.1.weight"] == decay["text.1.bias"] == 0.0


def test_weight_decay_spares_embeddings_and_positions(model_folder):
    """Of every kind of table: looked up by token, added by place, put before the patches, tied to the output head."""
    model = EarthGPTForConditionalGeneration.from_pretrained(model_folder)
    model.language_model.embed_tokens.weight = model.lm_head.weight
    optimiser = build_optimiser(apply_stage(model, stage((".*", 1e-3))), OptimiserConfig(weight_decay=0.1))
    decays = {name for group in optimiser.param_groups for name in group["names"] if group["weight_decay"]}
    products = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)}
    assert decays == products - {"lm_head.weight"} and len(decays) > 20
    spared = {name for name, value in model.named_parameters() if value.dim() >= 2} - decays
    assert {"embeddings.cls_token", "embeddings.position_embeddings"} <= {
        n.removeprefix("model.vision.vit.") for n in spared
    }
    assert "model.language_model.embed_tokens.weight" in spared


def test_groups_keep_their_ratio_of_learning_rates():
    optimiser = build_optimiser(apply_stage(make_model(), stage((".*bias", 4.0), (".*", 1.0))), OptimiserConfig())
    set_learning_rate(optimiser, 0.5)
    assert {group["lr"] for group in optimiser.param_groups} == {2.0, 0.5}


def test_warm_up_and_decay():
    config = ScheduleConfig(kind="cosine", warmup_share=0.1, min_ratio=0.2)
    factors = [learning_rate_factor(step, 100, config) for step in range(120)]
    assert factors[:2] == [1 / 11, 2 / 11] and factors[10] == 1.0
    assert factors[55] == pytest.approx(0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi / 2)))
    assert all(a >= b for a, b in pairwise(factors[10:]))
    assert factors[100:] == pytest.approx([0.2] * 20)
    linear = config.model_copy(update={"kind": "linear"})
    assert learning_rate_factor(55, 100, linear) == pytest.approx(0.6)
    constant = config.model_copy(update={"kind": "constant"})
    assert learning_rate_factor(99, 100, constant) == 1.0


def test_a_stable_phase_ends_in_a_linear_decay():
    config = ScheduleConfig(kind="wsd", warmup_share=0.1, decay_share=0.2, min_ratio=0.1)
    factors = [learning_rate_factor(step, 100, config) for step in range(110)]
    assert factors[10:81] == [1.0] * 71
    assert factors[90] == pytest.approx(0.55) and factors[100:] == pytest.approx([0.1] * 10)


def test_the_inverse_root_goes_on_from_the_warm_up():
    config = ScheduleConfig(kind="inverse-sqrt", warmup_share=0.09, min_ratio=0.2)
    factors = [learning_rate_factor(step, 100, config) for step in range(1000)]
    assert factors[8] == 0.9 and factors[9] == 1.0
    assert factors[39] == pytest.approx(0.5) and factors[249] == pytest.approx(0.2) and factors[999] == 0.2


@pytest.mark.parametrize("kind", ["cosine", "linear", "wsd", "inverse-sqrt", "constant"])
@pytest.mark.parametrize("total", [1, 2, 3])
def test_the_shortest_runs_have_a_schedule(kind, total):
    config = ScheduleConfig(kind=kind, warmup_share=1.0, decay_share=0.0)
    assert all(0 < learning_rate_factor(step, total, config) <= 1 for step in range(total))
