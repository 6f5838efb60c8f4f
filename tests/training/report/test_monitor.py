"""Metrics: each step once, whatever happened before; plain lines where no terminal is."""

from __future__ import annotations

import json
import sys
import threading
from types import ModuleType

import pytest
from PIL import Image

from mmrs.errors import UserError
from mmrs.progress import Progress
from training.config import LogConfig
from training.report.monitor import HeldOutReport, Monitor, StepReport, augmented_images, open_monitor, read_metrics
from training.report.plot import plot_run

PLAIN = LogConfig(every_steps=2, tensorboard=False)


def report(step: int) -> StepReport:
    return StepReport(
        step=step, epoch=0, loss=2.0 / step, task_loss={"captioning": 1.5}, sensor_loss={"sar": 1.25},
        auxiliary_loss={}, learning_rates={"a.*": 1e-3, "b.*": 1e-4}, gradient_norm=0.7,
        target_tokens=100, input_tokens=400, images=3,
        seconds=0.5, target_tokens_per_second=200.0, input_tokens_per_second=800.0, padding_share=0.02,
        data_wait_share=0.1, mfu=None if step % 2 else 0.4, samples=10 * step, skipped_samples=0, memory_mb=50.0,
        augmented={"dihedral": 0.5 * (step % 2)},
    )  # fmt: skip


def held_out(step: int) -> HeldOutReport:
    return HeldOutReport(step, 3.0 / step, {"captioning": 2.5}, {"sar": 2.25}, 40, 1.5)


def test_lines_after_the_checkpoint_are_cut_off(tmp_path, capsys):
    with open_monitor(tmp_path, 0, 5, PLAIN, Progress()) as monitor:
        for step in (1, 2, 3, 4):
            monitor.step(report(step))
            monitor.held_out(held_out(step))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')
    with open_monitor(tmp_path, 2, 5, PLAIN, Progress()) as monitor:
        for step in (3, 4, 5):
            monitor.step(report(step))
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    assert lines[2] == json.loads(report(3).to_json())
    assert [line["step"] for line in read_metrics(tmp_path / "held-out.jsonl")] == [1, 2]
    said = [line.split()[1] for line in capsys.readouterr().err.splitlines() if line.startswith("step")]
    assert said == ["2/5", "4/5", "4/5", "5/5"]


def test_a_broken_line_in_the_middle_is_not_hidden(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step"\n{"step": 2}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl:1 is no line of a run"):
        read_metrics(tmp_path / "metrics.jsonl")


def test_tensorboard_gets_losses_rates_and_pictures(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    Image.new("RGB", (8, 4), "red").save(tmp_path / "answers.png")
    with open_monitor(tmp_path, 0, 2, LogConfig(every_steps=1), Progress()) as monitor:
        for step in (1, 2):
            monitor.step(report(step))
            monitor.held_out(held_out(step), tmp_path / "answers.png")
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    wanted = {"loss", "loss/captioning", "sensor_loss/sar", "padding_share", "data_wait_share", "mfu"}
    wanted |= {"learning_rate/0", "learning_rate/1", "held_out/all", "held_out/captioning", "held_out_sensor/sar"}
    wanted |= {"augmented/dihedral"}
    assert wanted <= set(events.Tags()["scalars"])
    assert [event.value for event in events.Scalars("loss")] == [2.0, 1.0]
    assert [event.step for event in events.Scalars("mfu")] == [2]
    assert [event.step for event in events.Images("held_out/answers")] == [1, 2]


def test_the_share_of_augmented_images_weighs_each_step_by_its_images():
    lines = [
        {"images": 3, "augmented": {"dihedral": 1.0}},
        {"images": 1, "augmented": {"dihedral": 0.0, "noise": 1.0}},
        {"images": 4},
    ]
    assert augmented_images(lines) == {"dihedral": 3 / 8, "noise": 1 / 8}
    assert augmented_images([]) == {}


def test_a_rank_that_does_not_write_leaves_no_file(tmp_path, capsys):
    with open_monitor(tmp_path, 0, 2, LogConfig(every_steps=1), Progress(), writes=False) as monitor:
        monitor.step(report(1))
        monitor.held_out(held_out(1))
        monitor.skipped("a/train/0", "OSError")
    assert not list(tmp_path.iterdir()) and capsys.readouterr().err == ""


@pytest.mark.nightly
def test_the_plot_shows_a_run_with_and_without_evaluation(tmp_path):
    for evaluated in (False, True):
        with open_monitor(tmp_path, 0, 4, PLAIN, Progress(quiet=True)) as monitor:
            for step in (1, 2, 3, 4):
                monitor.step(report(step))
                if evaluated:
                    monitor.held_out(held_out(step))
        plot_run(tmp_path, tmp_path / "run.png")
        with Image.open(tmp_path / "run.png") as image:
            assert image.size == (1320, 880)


def test_skipped_samples_are_named_then_thinned(capsys):
    monitor = Monitor(None, None, 1, 1, Progress())
    for number in range(350):
        monitor.skipped(f"s/{number}", "OSError: broken")
    named = [line.split(": ")[1] for line in capsys.readouterr().err.splitlines()]
    assert named == [f"s/{number}" for number in [*range(10), 99, 199, 299]]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracker_gets_the_figures_under_the_name_of_the_run(tmp_path, monkeypatch, name):
    calls = []
    library = ModuleType(name)
    for call in ("init", "log", "finish"):
        monkeypatch.setattr(library, call, lambda *a, _call=call, **k: calls.append((_call, a, k)), raising=False)
    monkeypatch.setitem(sys.modules, name, library)
    log = LogConfig(every_steps=2, tensorboard=False, tracker=name, project="seas")
    (tmp_path / "run").mkdir()
    with open_monitor(tmp_path / "run", 0, 3, log, Progress(quiet=True)) as monitor:
        for step in (1, 2, 3):
            monitor.step(report(step))
        monitor.held_out(held_out(3))
    assert [call for call, *_ in calls] == ["init", "log", "log", "log", "finish"]
    started = calls[0][2]
    assert (started["project"], started["name"], started["resume"]) == ("seas", "run", "allow")
    assert [call[2]["step"] for call in calls[1:4]] == [2, 3, 3]
    assert calls[1][1][0]["loss/captioning"] == 1.5 and calls[3][1][0]["held_out/all"] == 1.0
    calls.clear()
    with open_monitor(tmp_path / "run", 0, 3, log, Progress(quiet=True), writes=False) as monitor:
        monitor.step(report(2))
    assert not calls


def test_a_tracker_that_is_not_installed_names_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    opened = open_monitor(tmp_path, 0, 3, LogConfig(tracker="wandb"), Progress(quiet=True))
    with pytest.raises(UserError, match=r"log\.tracker=wandb needs its library: pip install 'mmrs\[wandb\]'"):
        opened.__enter__()


def test_a_disk_that_is_full_for_tensorboard_is_a_line(tmp_path, capsys):
    def full():
        raise OSError(28, "No space left on device")

    before = threading.excepthook
    with open_monitor(tmp_path, 0, 4, LogConfig(), Progress(quiet=False)):
        thread = threading.Thread(target=full)
        thread.start()
        thread.join()
    said = capsys.readouterr().err
    assert "TensorBoard's file is not written: [Errno 28] No space left on device" in said and "Traceback" not in said
    assert threading.excepthook is before
