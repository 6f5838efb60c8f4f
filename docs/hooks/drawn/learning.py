"""Curves of the learning page, from the raw figures in ``benchmarks/results``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from docs.hooks.drawn.svg import Point, curve, drawing, text

_RESULTS = Path(__file__).parents[3] / "benchmarks" / "results" / "2026-12-01-learning-ssdd.json"
_LEFT, _TOP, _WIDTH, _HEIGHT = 60, 24, 660, 300
_LEAST_LOSS, _MOST_LOSS, _LOSS_STEP = 0.4, 1.4, 0.2
_IMAGES_STEP = 5000
_KINDS = ("data", "model", "store", "third", "fourth")
# Means of 25 steps that a point of a curve is the mean of.
_SMOOTH = 4


def learning() -> str:
    """Loss of the text against images seen while the language model learns, for the runs with the same tokens."""
    runs = [run for run in json.loads(_RESULTS.read_text())["runs"] if run["curve"]]
    most_images = max(run["text_images"] for run in runs)
    parts = list(_axes(most_images))
    for place, run in enumerate(runs):
        kind = f"curve {_KINDS[place]}"
        parts.append(curve(_points(run["text_loss_per_25_steps"], run["text_images"], most_images), kind))
        parts += [
            curve([(400, 44 + 20 * place), (430, 44 + 20 * place)], kind),
            text(440, 48 + 20 * place, run["name"]),
        ]
    return drawing(760, 380, "Loss of the text against images seen, run by run", parts)


def _points(losses: Sequence[float], images: int, most_images: int) -> list[Point]:
    points = []
    for end in range(1, len(losses) + 1):
        window = losses[max(0, end - _SMOOTH) : end]
        loss = sum(window) / len(window)
        if loss <= _MOST_LOSS:
            points.append((_across(images * end / len(losses), most_images), _down(loss)))
    return points


def _axes(most_images: int) -> Iterator[str]:
    bottom, right = _TOP + _HEIGHT, _LEFT + _WIDTH
    for number in range(round((_MOST_LOSS - _LEAST_LOSS) / _LOSS_STEP) + 1):
        loss = _LEAST_LOSS + number * _LOSS_STEP
        yield curve([(_LEFT, _down(loss)), (right, _down(loss))], "rule")
        yield text(_LEFT - 8, _down(loss) + 4, f"{loss:.1f}", "small", "end")
    for images in range(0, most_images + 1, _IMAGES_STEP):
        yield text(_across(images, most_images), bottom + 20, f"{images:,}", "small", "middle")
    yield text(_LEFT, 14, "nats per target token", "small")
    yield text(right, bottom + 42, "images seen while the language model learns", "small", "end")


def _across(images: float, most_images: int) -> float:
    return round(_LEFT + _WIDTH * images / most_images, 1)


def _down(loss: float) -> float:
    return round(_TOP + _HEIGHT * (_MOST_LOSS - loss) / (_MOST_LOSS - _LEAST_LOSS), 1)
