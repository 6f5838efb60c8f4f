"""Parameter counts at paper scale, to the unit, against counts worked out by hand from the published shapes.

The models are on the meta device: shapes without storage.
"""

import pytest
import torch

from training.config import StageConfig
from training.config.parameter_sets import run_a, run_b
from training.model import EarthGPTForConditionalGeneration, preset
from training.model.tuning.vectors import add_tuning
from training.stages.stage import apply_stage

LLAMA_2 = {"vocab_size": 32000, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "image_token_id": 32000}
# The hand count leaves out ConvNeXt's final LayerNorm, which we use on the last stage's map.
FINAL_NORM = 2 * 1536
LAYER_NORM = 2 * 4096


def build(name, **changes):
    with torch.device("meta"):
        return EarthGPTForConditionalGeneration(preset(name, **LLAMA_2, changes=changes))


@pytest.fixture(scope="module")
def models():
    return {name: build(name) for name in ("7b", "13b")}


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def trained(model, patterns):
    stage = StageConfig(trainable=tuple({"pattern": pattern, "learning_rate": 1e-3} for pattern in patterns))
    rows = apply_stage(model, stage)
    return sum(row.parameter.numel() for row in rows if row.learning_rate is not None)


def test_language_models(models):
    assert count(models["7b"].language_model) + count(models["7b"].lm_head) == 6_738_415_616
    assert count(models["13b"].language_model) + count(models["13b"].lm_head) == 13_015_864_320
    parts = {"self_attn": 2_147_483_648, "mlp": 4_328_521_728}
    for part, expected in parts.items():
        assert sum(count(getattr(layer, part)) for layer in models["7b"].language_model.layers) == expected
    assert count(models["7b"].language_model.embed_tokens) == count(models["7b"].lm_head) == 131_072_000
    assert trained(models["7b"], run_a()[2:]) == 266_240


def test_encoders(models):
    assert count(models["7b"].vision.vit) == 304_368_640
    assert count(models["7b"].vision.cnn) == 196_227_264 + FINAL_NORM


@pytest.mark.parametrize(
    ("changes", "linear"),
    [
        ({"cnn.layers": [4], "vit.layers": [24]}, 10_489_856),
        ({}, 15_994_880),
        ({"vit.fusion": "concat"}, 28_577_792),
    ],
)
def test_projectors(changes, linear):
    projector = build("7b", **changes).projector
    assert count(projector.linear) == linear
    assert count(projector.norm) == LAYER_NORM
    assert projector.start.numel() + projector.end.numel() == 8_192


def test_totals(models):
    assert count(build("7b", **{"cnn.layers": [4], "vit.layers": [24]})) == 7_249_517_760 + FINAL_NORM
    assert count(models["7b"]) == 7_255_022_784 + FINAL_NORM
    assert count(models["13b"]) == 13_536_474_304 + FINAL_NORM


@pytest.mark.parametrize(
    ("output_projection", "expected"),
    [(False, {"7b": 1_626_890_240, "13b": 3_166_156_800}), (True, {"7b": 2_163_761_152, "13b": 4_214_732_800})],
)
def test_run_a(models, output_projection, expected):
    for name, parameters in expected.items():
        assert trained(models[name], run_a(output_projection)) == parameters


@pytest.mark.parametrize(
    ("tuning", "options", "expected"),
    [
        ("bias", {}, {"7b": 1_359_872, "13b": 2_129_920}),
        ("bias-scale", {}, {"7b": 2_719_744, "13b": 4_259_840}),
        ("bias-scale", {"head": True}, {"7b": 2_783_744, "13b": 4_323_840}),
        ("bias-scale", {"norms": True}, {"7b": 2_985_984, "13b": 4_674_560}),
        ("bias", {"norms": True}, {"7b": 1_626_112, "13b": 2_544_640}),
        ("bias-scale", {"projector": True}, {"7b": 2_719_744 + 16_011_264}),
    ],
)
def test_run_b(tuning, options, expected):
    for name, parameters in expected.items():
        model = build(name)
        add_tuning(model, tuning, head=options.get("head", False))
        assert trained(model, run_b(**options)) == parameters


def test_share_of_run_b(models):
    assert round(100 * 2_719_744 / count(models["7b"]), 4) == 0.0375
