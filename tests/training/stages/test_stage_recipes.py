"""The stage recipes train what the paper trains; a run with tuning leaves every other weight as it was."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mmrs.errors import UserError
from tests.training.micro import make_config
from training.config import StageConfig, load_config
from training.config.parameter_sets import _VECTOR_PATTERN, EVERYTHING, SETS, run_a, run_b
from training.model import EarthGPTForConditionalGeneration, preset
from training.model.language.bias_scale import tuned_vectors
from training.model.origin.digest import weights_digest
from training.model.tuning.vectors import add_tuning
from training.run.train import train
from training.stages.stage import apply_stage

RECIPES = Path(__file__).parents[3] / "training" / "recipes"


@pytest.mark.parametrize(
    ("recipe", "patterns"), [("stage-a-7b", run_a()), ("stage-b-7b", run_b()), ("stage-b-13b", run_b())]
)
def test_recipes_hold_the_sets_of_the_paper(recipe, patterns):
    stage = load_config(RECIPES / f"{recipe}.yaml").stage
    assert tuple(rule.pattern for rule in stage.trainable) == patterns
    assert (stage.tuning is not None) == (_VECTOR_PATTERN in patterns)


def test_the_lora_recipe_trains_adapters_alone():
    config = load_config(RECIPES / "lora-7b.yaml")
    assert config.stage.tuning.kind == "lora"
    assert [rule.pattern for rule in config.stage.trainable] == [SETS["adapters"]]


SET_COUNTS = {
    "everything": lambda name: True,
    "encoders": lambda name: name.startswith("model.vision."),
    "projector": lambda name: name.startswith("model.projector."),
    "language-model": lambda name: name.startswith(("model.language_model.", "lm_head.")),
    "attention": lambda name: "self_attn" in name and name.endswith("weight"),
    "attention-qkv": lambda name: "self_attn" in name and name.endswith("weight") and "o_proj" not in name,
    "norms": lambda name: name.startswith("model.language_model.") and "norm" in name,
    "vectors": lambda name: name.endswith("_tune") and not name.startswith("lm_head"),
    "head-vectors": lambda name: name.endswith("_tune") and name.startswith("lm_head"),
}


@pytest.mark.parametrize("name", SET_COUNTS)
def test_named_sets_hold_what_they_say(name):
    with torch.device("meta"):
        ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "image_token_id": 3}
        model = EarthGPTForConditionalGeneration(preset("tiny", vocab_size=300, **ids))
    add_tuning(model, "bias-scale", head=True)
    rows = apply_stage(model, StageConfig(trainable=[{"set": name, "learning_rate": 1e-3}]))
    trained = {row.name for row in rows if row.learning_rate is not None}
    assert trained == {row.name for row in rows if SET_COUNTS[name](row.name)}


def test_a_set_is_named_or_described_not_both():
    for rule, words in (
        ({"set": "norm"}, "no set 'norm'; choose one of everything, encoders, projector"),
        ({"set": "norms", "pattern": ".*"}, "not both"),
    ):
        with pytest.raises(ValueError, match=words):
            StageConfig(trainable=[rule | {"learning_rate": 1e-3}])


def test_the_small_recipe_trains_everything():
    with torch.device("meta"):
        ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "image_token_id": 49152}
        model = EarthGPTForConditionalGeneration(preset("small", vocab_size=49152, **ids))
    rows = apply_stage(model, load_config(RECIPES / "small.yaml").stage)
    assert all(row.learning_rate is not None for row in rows)
    language = sum(row.parameter.numel() for row in rows if row.name.startswith("model.language_model"))
    assert language == 134_515_008


def stage_b(out, shards, model_folder, **changes):
    stage = {"tuning": {"kind": "bias-scale"}, "trainable": [{"pattern": _VECTOR_PATTERN, "learning_rate": 1e-2}]}
    return make_config(out, shards, model_folder, stage=stage, **changes)


@pytest.mark.nightly
def test_a_tuning_run_moves_the_vectors_alone_and_resumes(shards, model_folder, tmp_path):
    base = EarthGPTForConditionalGeneration.from_pretrained(model_folder)
    schedule = {"total_steps": 6}
    train(stage_b(tmp_path / "parts", shards, model_folder, max_steps=3, schedule=schedule))
    result = train(stage_b(tmp_path / "parts", shards, model_folder, max_steps=6, schedule=schedule))
    assert result.resumed_from == 3
    tuned = EarthGPTForConditionalGeneration.from_pretrained(result.model)
    assert weights_digest(tuned) == weights_digest(base)
    assert all(vector.unique().numel() > 1 for vector in tuned_vectors(tuned).values())
    assert load_file(result.checkpoint / "trainable.safetensors").keys() == tuned_vectors(tuned).keys()
    whole = train(stage_b(tmp_path / "whole", shards, model_folder, max_steps=6, schedule=schedule))
    again = EarthGPTForConditionalGeneration.from_pretrained(whole.model)
    assert all(torch.equal(value, tuned_vectors(again)[name]) for name, value in tuned_vectors(tuned).items())
    other = {"tuning": {"kind": "bias"}, "trainable": [{"pattern": EVERYTHING, "learning_rate": 1e-2}]}
    with pytest.raises(UserError, match=r"stage\.tuning: .*tuning='bias-scale'.*fold"):
        train(make_config(tmp_path / "next", shards, result.model, stage=other, max_steps=1))
