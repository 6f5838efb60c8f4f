"""`mmrs train --plan`: the figures of a run, without its model."""

from __future__ import annotations

import json

import pytest

from mmrs.errors import UserError
from tests.training.micro import make_config
from training.model import EarthGPTForConditionalGeneration
from training.report.plan_preview import preview
from training.run.train import train


@pytest.fixture
def no_model(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("a model was made")

    monkeypatch.setattr(EarthGPTForConditionalGeneration, "from_pretrained", refuse)
    monkeypatch.setattr("training.stages.initial_model.initialise", refuse)


@pytest.mark.nightly
def test_the_plan_of_a_run_is_that_which_the_run_follows(shards, model_folder, tmp_path, capsys, monkeypatch):
    config = make_config(
        tmp_path / "out", shards, model_folder, data={"mixture": [{"task": "captioning", "epochs": 2}]}
    )
    shown = preview(config).splitlines()
    assert not config.out.exists()
    train(config)
    said = capsys.readouterr().err
    assert len(shown) >= 5 and all(line in said for line in shown)
    plan = json.loads((config.out / "plan.json").read_text())
    assert plan["dialogues_per_task"]["captioning"] == 32 and plan["dialogues_per_task"]["classification"] == 16
    assert plan["shown"] > plan["samples"] == 24 and "*/captioning=2, others=1 passes per epoch" in shown[1]


def test_neither_weights_nor_a_folder_are_needed(shards, tmp_path, no_model):
    config = make_config(tmp_path / "out", shards, tmp_path, tokens_per_pack=600, tokens_per_step=600)
    preset = config.model.model_copy(update={"path": None, "preset": "tiny", "vocab_size": 280})
    text = preview(config.model_copy(update={"model": preset}))
    assert "24 samples (toy 24)" in text and "padding" in text and "MB to read" in text
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match=r"model\.path .* holds no model"):
        preview(config)


def test_token_counts_are_shared_between_runs(shards, model_folder, tmp_path, monkeypatch):
    first = preview(make_config(tmp_path / "one", shards, model_folder))
    monkeypatch.setattr("training.data.planning.lengths._compute", lambda *arguments: pytest.fail("counted again"))
    second = preview(make_config(tmp_path / "two", shards, model_folder, data={"seed": 3}))
    # Another seed orders the same dialogues anew.
    assert second.splitlines()[:3] == first.splitlines()[:3]
