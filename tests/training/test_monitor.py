"""Metrics: each step once, whatever happened before; plain lines where no terminal is."""

from __future__ import annotations

import io
import json

import pytest
import torch

from mmrs.progress import Progress
from training.data.collate import Pack
from training.monitor import Monitor, StepReport, open_monitor, read_metrics, task_means


def report(step: int) -> StepReport:
    return StepReport(
        step, 0, 2.0 / step, {"captioning": 1.5}, 1e-3, 0.7, 100, 400, 0.5, 200.0, 800.0, 0.02, 0.1, 10 * step, 0, 50.0
    )


def test_lines_after_the_checkpoint_are_cut_off(tmp_path, capsys):
    with open_monitor(tmp_path, 0, 5, 2, False, Progress()) as monitor:
        for step in (1, 2, 3, 4):
            monitor.step(report(step))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')
    with open_monitor(tmp_path, 2, 5, 2, False, Progress()) as monitor:
        for step in (3, 4, 5):
            monitor.step(report(step))
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    assert lines[2] == json.loads(report(3).to_json())
    said = [line.split()[1] for line in capsys.readouterr().err.splitlines()]
    assert said == ["2/5", "4/5", "4/5", "5/5"]


def test_a_broken_line_in_the_middle_is_not_hidden(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step"\n{"step": 2}\n')
    with pytest.raises(json.JSONDecodeError):
        read_metrics(tmp_path / "metrics.jsonl")


def test_tensorboard_gets_the_loss_of_each_task(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with open_monitor(tmp_path, 0, 2, 1, True, Progress()) as monitor:
        monitor.step(report(1))
        monitor.step(report(2))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert {"loss", "loss/captioning", "padding_share", "data_wait_share", "learning_rate"} <= set(
        events.Tags()["scalars"]
    )
    assert [event.value for event in events.Scalars("loss")] == [2.0, 1.0]


def test_skipped_samples_are_named_then_thinned(capsys):
    empty = torch.zeros(0)
    monitor = Monitor(io.StringIO(), 1, 1, Progress())
    for number in range(350):
        skipped = ((f"s/{number}", "OSError: broken"),)
        monitor.skipped(Pack(0, 0, *[empty] * 9, sample_ids=(), real_tokens=0, skipped=skipped))
    named = [line.split(": ")[1] for line in capsys.readouterr().err.splitlines()]
    assert named == [f"s/{number}" for number in [*range(10), 99, 199, 299]]


def test_tasks_without_targets_have_no_mean():
    means = task_means(torch.tensor([6.0, 0.0, 3.0]), torch.tensor([2.0, 0.0, 3.0]), ("a", "b", "c"))
    assert means == {"a": 3.0, "c": 1.0}
