"""A trace holds the steps that were asked for, and a run ends the same with and without one."""

from __future__ import annotations

import json

import pytest

from tests.training.micro import make_config
from training.report.monitor import read_metrics
from training.run.train import train


def test_some_steps_are_traced(shards, model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("training.run.train.plot_run", lambda out, image: None)
    stage = {"trainable": [{"set": "projector", "learning_rate": 1e-3}]}
    losses = {}
    for steps in (0, 1):
        config = make_config(
            tmp_path / f"{steps}", shards, model_folder, max_steps=4, stage=stage,
            log={"profile_steps": steps}, tokens_per_step=320, checkpoint={"every_steps": 4},
        )  # fmt: skip
        losses[steps] = [line["loss"] for line in read_metrics(train(config).metrics)]
    assert losses[0] == losses[1] and not (tmp_path / "0" / "profile").exists()
    events = json.loads((tmp_path / "1" / "profile" / "trace-rank-0.json").read_text())["traceEvents"]
    steps = [event["name"] for event in events if event["name"].startswith("ProfilerStep") and event.get("dur")]
    assert steps == pytest.approx(["ProfilerStep#2"]) and any("addmm" in event["name"] for event in events)
