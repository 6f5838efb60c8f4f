"""The picture of a run: losses, learning rate and gradient, throughput, waiting."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from mmrs.storage.atomic import write_atomic
from training.report.monitor import HELD_OUT, METRICS, read_metrics


def plot_run(out: Path, image: Path) -> None:
    """Draw the metrics of the run in `out` as a PNG of four panels."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines, held_out = read_metrics(out / METRICS), read_metrics(out / HELD_OUT)
    figure, panels = pyplot.subplots(2, 2, figsize=(12, 8), layout="constrained")
    _losses(panels[0, 0], lines, held_out)
    _by_step(panels[0, 1], lines, {"gradient norm": "gradient_norm"}, "gradient norm before clipping")
    rates = panels[0, 1].twinx()
    rates.plot(_steps(lines), [max(line["learning_rates"].values()) for line in lines], color="tab:orange")
    rates.set_ylabel("largest learning rate", color="tab:orange")
    _by_step(
        panels[1, 0],
        lines,
        {"input tokens": "input_tokens_per_second", "target tokens": "target_tokens_per_second"},
        "real tokens per second",
    )
    panels[1, 0].set_ylim(bottom=0)
    shares = {"padding": "padding_share", "waiting for data": "data_wait_share"}
    if any(line["mfu"] is not None for line in lines):
        shares["model FLOP utilisation"] = "mfu"
    _by_step(panels[1, 1], lines, shares, "share")
    panels[1, 1].set_ylim(0, 1)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    pyplot.close(figure)
    write_atomic(image, drawn.getvalue())


def _losses(axes: Any, lines: list[dict[str, Any]], held_out: list[dict[str, Any]]) -> None:
    for task in sorted({task for line in lines for task in line["task_loss"]}):
        points = [(line["step"], line["task_loss"][task]) for line in lines if task in line["task_loss"]]
        axes.plot(*zip(*points, strict=True), linewidth=0.8, alpha=0.7, label=task)
    axes.plot(_steps(lines), [line["loss"] for line in lines], color="black", label="all tasks")
    if held_out:
        axes.plot(_steps(held_out), [line["loss"] for line in held_out], "ko--", markersize=4, label="held out")
    axes.set(xlabel="optimiser step", ylabel="loss in nats per target token")
    axes.grid(alpha=0.3)
    axes.legend()


def _by_step(axes: Any, lines: list[dict[str, Any]], names: dict[str, str], label: str) -> None:
    for title, name in names.items():
        axes.plot(_steps(lines), [line[name] for line in lines], linewidth=0.9, label=title)
    axes.set(xlabel="optimiser step", ylabel=label)
    axes.grid(alpha=0.3)
    axes.legend()


def _steps(lines: list[dict[str, Any]]) -> list[int]:
    return [line["step"] for line in lines]
