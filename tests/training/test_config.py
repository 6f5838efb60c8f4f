"""The configuration refuses what it does not understand, and says what to write instead."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mmrs.config import validated
from mmrs.errors import UserError
from training.config import TrainConfig, check_resume_bound_fields, load_config, resume_bound_fields

RECIPES = Path(__file__).parents[2] / "training" / "recipes"
MINIMAL = {
    "model": {"preset": "tiny"},
    "data": {"folders": "data"},
    "stage": {"trainable": [{"pattern": ".*", "learning_rate": 1e-3}]},
    "epochs": 1,
    "out": "run",
}


def make(**changes) -> TrainConfig:
    return validated(TrainConfig, MINIMAL | changes, "recipe")


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_recipe_is_valid(path):
    assert load_config(path, ["out=x"]).out == Path("x")


def test_overrides_reach_nested_keys_and_are_typed(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    config = load_config(
        path,
        [
            "data.seed=3",
            "optimiser.betas=[0.8, 0.9]",
            "schedule.min_ratio=1e-2",
            "data.folders=[a, b]",
            "data.tasks=[captioning]",
        ],
    )
    assert (config.data.seed, config.optimiser.betas, config.schedule.min_ratio) == (3, (0.8, 0.9), 0.01)
    assert config.data.folders == (Path("a"), Path("b")) and config.data.tasks == ("captioning",)


def test_a_recipe_changes_a_preset(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    changed = ["model.encoders.vit.image_size=224", "model.encoders.cnn.layers=[2, 3]", "model.token_merge=1"]
    config = load_config(path, changed)
    assert config.model.changes == {"token_merge": 1, "vit.image_size": 224, "cnn.layers": (2, 3)}
    assert load_config(path, []).model.changes == {}
    with pytest.raises(UserError, match=r"model\.encoders was"):
        check_resume_bound_fields(resume_bound_fields(config), load_config(path, []))


def test_the_resolved_configuration_reads_back_equal():
    config = make(max_steps=5, epochs=None)
    assert TrainConfig.model_validate(yaml.safe_load(config.to_yaml())) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token_per_pack": 5}, "token_per_pack: unknown key; did you mean 'tokens_per_pack'"),
        ({"data": {"folders": "x", "sead": 1}}, "data.sead: unknown key; did you mean 'seed'"),
        ({"optimiser": {"lr": 1}}, "optimiser.lr: unknown key"),
        ({"stage": {"trainable": [{"pattern": ".*", "lr": 1}]}}, "learning_rate"),
        ({"tokens_per_pack": 1000, "tokens_per_step": 4096}, "tokens_per_step=4000 or 5000"),
        ({"tokens_per_pack": 1000, "tokens_per_step": 300}, "tokens_per_step=1000$"),
        ({"max_steps": 5}, "exactly one of epochs and max_steps"),
        ({"model": {"preset": "tiny", "path": "x"}}, "exactly one of model.preset"),
        (
            {"model": {"path": "x", "encoders": {"vit": {"image_size": 8}}}},
            "model.encoders.vit.image_size changes a preset",
        ),
        ({"model": {"path": "x", "token_merge": 1}}, "option --set token_merge=1"),
        ({"model": {"preset": "tiny", "encoders": {"vit": {"size": 8}}}}, "model.encoders.vit.size: unknown key"),
        ({"stage": {"trainable": [{"pattern": "(", "learning_rate": 1}]}}, "no regular expression"),
        ({"stage": {"trainable": []}}, "stage.trainable"),
        ({"schedule": {"warmup_share": 2}}, "schedule.warmup_share.*found 2"),
        ({"optimiser": {"clip_norm": float("nan")}}, "optimiser.clip_norm"),
        ({"schedule": {"kind": "wsd", "warmup_share": 0.6, "decay_share": 0.5}}, "sum must be at most 1"),
        ({"checkpoint": {"keep_best": 1}}, "needs a held-out loss"),
        ({"checkpoint": {"keep_best": 1, "every_steps": 7}, "held_out": {"every_steps": 10}}, "multiple of .*=7"),
        ({"held_out": {"answers": 2}, "parallel": {"mode": "fsdp"}}, "parallel.mode=replicate"),
        ({"held_out": {"evry_steps": 2}}, "did you mean 'every_steps'"),
        ({"data": {"folders": "x", "split": "val"}}, "data.split: unknown key; did you mean 'splits'"),
        ({"data": {"folders": "x", "keep_lst": 3}}, "did you mean 'checkpoint.keep_last'"),
        ({"parallel": {"ranks_per_replica": 2}}, "parallel.mode=fsdp"),
        ({"parallel": {"attention": "flex"}}, "no backward pass on a CPU"),
        ({"parallel": {"activation_checkpointing": "selective"}, "device": "cuda"}, "parallel.compile=true"),
    ],
)
def test_refusals_name_the_key_and_the_way_out(changes, message):
    with pytest.raises(UserError, match=message):
        make(**changes)


def test_all_problems_are_listed_at_once():
    with pytest.raises(UserError) as caught:
        make(workers=-1, threads=0)
    assert "workers" in str(caught.value) and "threads" in str(caught.value)


@pytest.mark.parametrize("override", ["seed", "=3", "model=[", "epochs.x=1"])
def test_malformed_overrides_are_refused(tmp_path, override):
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    with pytest.raises(UserError, match=r"--set"):
        load_config(path, [override])


@pytest.mark.parametrize("text", [None, "a: [", "- 1"])
def test_what_is_no_recipe_is_refused(tmp_path, text):
    path = tmp_path / "a.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=r"a.yaml"):
        load_config(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"log": {"every_steps": 3}},
        {"workers": 2},
        {"threads": 1},
        {"checkpoint": {"every_steps": 7, "keep_last": 1}},
        {"data": {"folders": "moved", "verify_images": True}},
        {"out": "elsewhere"},
        {"held_out": {"every_steps": 50}, "checkpoint": {"keep_best": 2, "every_steps": 50}},
        {"parallel": {"mode": "fsdp", "compile": True, "activation_checkpointing": "full"}},
    ],
)
def test_changes_of_what_is_resume_free_may_be_resumed(changes):
    check_resume_bound_fields(resume_bound_fields(make()), make(**changes))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"tokens_per_step": 4096}, "tokens_per_step"),
        ({"data": {"folders": "data", "seed": 1}}, "data.seed"),
        ({"data": {"folders": "data", "tasks": ["captioning"]}}, "data.tasks"),
        ({"stage": {"trainable": [{"pattern": ".*", "learning_rate": 2e-3}]}}, "stage.trainable"),
        ({"optimiser": {"weight_decay": 0.1}}, "optimiser.weight_decay"),
        ({"schedule": {"kind": "linear"}}, "schedule.kind"),
        ({"model": {"preset": "tiny", "seed": 4}}, "model.seed"),
        ({"epochs": 2}, "epochs.*schedule.total_steps"),
    ],
)
def test_changes_of_the_mathematics_are_refused_by_name(changes, name):
    with pytest.raises(UserError, match=name):
        check_resume_bound_fields(resume_bound_fields(make()), make(**changes))


def test_a_run_with_a_fixed_schedule_may_be_lengthened():
    fixed = {"schedule": {"total_steps": 100}, "epochs": None}
    check_resume_bound_fields(resume_bound_fields(make(max_steps=10, **fixed)), make(max_steps=50, **fixed))


def sections(schema):
    return {"TrainConfig": schema["properties"]} | {
        name: part["properties"] for name, part in schema["$defs"].items() if "properties" in part
    }


def test_every_field_says_what_it_is_for():
    schema = TrainConfig.model_json_schema()
    silent = [
        f"{section}.{name}"
        for section, fields in sections(schema).items()
        for name, field in fields.items()
        if not field.get("description", "").strip()
    ]
    assert silent == []
    said = sections(schema)["ScheduleConfig"]["total_steps"]["description"]
    assert said.startswith("Steps that the schedule is laid out for.")


def test_the_schema_says_what_may_change_on_a_resume():
    schema = sections(TrainConfig.model_json_schema())
    free = {
        f"{section}.{name}"
        for section, fields in schema.items()
        for name, field in fields.items()
        if field.get("may_change_on_resume")
    }
    assert {
        "TrainConfig.out",
        "DataConfig.folders",
        "ParallelConfig.ranks_per_replica",
        "LogConfig.peak_tflops",
    } <= free
    assert free.isdisjoint({"DataConfig.seed", "TrainConfig.tokens_per_step", "OptimiserConfig.betas"})
    bound = {name.rpartition(".")[2] for name in resume_bound_fields(make())}
    assert bound.isdisjoint({"out", "folders", "ranks_per_replica", "peak_tflops"}) and "betas" in bound


def test_a_recipe_is_checked_without_torch():
    code = "import sys, training.config; print(sorted({'torch', 'transformers', 'polars'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=RECIPES.parents[1])
    assert run.stdout.strip() == "[]", run.stderr
