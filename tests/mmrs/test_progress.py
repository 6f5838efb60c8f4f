"""Progress says how fast the work goes and what is left of it."""

import pytest

from mmrs.progress import Progress, _so_far


@pytest.mark.parametrize(
    ("done", "seconds", "said"),
    [
        (120, 50.0, "120 of 400 images, 2.4 a second, 1 min 57 s left"),
        (399, 1.0, "399 of 400 images, 399 a second, 0 s left"),
        (0, 12.0, "0 of 400 images"),
        (5, 0.0, "5 of 400 images"),
    ],
)
def test_rate_and_time_left(done, seconds, said):
    assert _so_far(done, 400, "images", seconds) == said


def test_lines_where_nobody_watches(capsys, monkeypatch):
    clock = iter([0.0, 4.0, 11.0, 12.0])
    monkeypatch.setattr("mmrs.progress.time.monotonic", lambda: next(clock))
    with Progress().stage("generate", 10, "answers") as advance:
        advance(2)
        advance(3)
    told = capsys.readouterr().err.splitlines()
    assert told == ["generate: 5 of 10 answers, 0.5 a second, 11 s left", "generate: 5 answers in 12.0 s"]


def test_a_bar_on_a_terminal_has_a_rate(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Progress().stage("generate", 4) as advance:
        for _ in range(4):
            advance(1)
    assert "4/4" in capsys.readouterr().err
