"""Boxes by class, by size and by confidence: what is found where, and how sure boxes were that are right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from training.evaluation.boxes.outcome import Outcome, Shapes, TrueBoxes, outcomes
from training.evaluation.metrics.matching import f1
from training.evaluation.panels import CalibrationPanel, Panel, TablePanel
from training.evaluation.task import Answered

# Upper bounds of the areas of small and of medium objects in square pixels, as COCO has them.
_SIZES = {"small": 32.0**2, "medium": 96.0**2, "large": np.inf}
_OTHER = "(no known class)"
_BINS = 10


def box_panels(pairs: Sequence[Answered[TrueBoxes]], shapes: Shapes) -> list[Panel]:
    """By class and by size at IoU 0.5, and, where boxes came with probabilities, whether these are right."""
    images = outcomes(pairs, shapes, 0.5)
    columns = ("objects", "found", "wrong", "precision", "recall", "f1")
    classes = [[name, *(row[column] for column in columns)] for name, row in by_class(images).items()]
    sizes = [[name, row["objects"], row["recall"]] for name, row in recall_by_size(images).items()]
    shares = ("precision", "recall", "f1")
    panels: list[Panel] = [
        TablePanel("By class, at IoU 0.5", ("class", *columns), classes, shares),
        TablePanel("By size of the object", ("size", "objects", "recall"), sizes, shares),
    ]
    bins = _calibration(outcomes(pairs, shapes, 0.5, ranked=True))
    return [*panels, CalibrationPanel("Confidence of boxes and share that is right", bins)] if bins else panels


def _calibration(images: Sequence[Outcome]) -> list[tuple[float, float, int]]:
    """Mean confidence, share that is right and number of the boxes of each bin that has any."""
    sure = [image.predicted.confidences[~image.forgiven] for image in images if image.predicted.confidences is not None]
    right = [(image.found >= 0)[~image.forgiven] for image in images if image.predicted.confidences is not None]
    if not sum(map(len, sure)):
        return []
    confidence, hit = np.concatenate(sure), np.concatenate(right)
    place = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    return [
        (float(confidence[place == number].mean()), float(hit[place == number].mean()), int((place == number).sum()))
        for number in range(_BINS)
        if (place == number).any()
    ]


def by_class(images: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    """Objects, found, wrong, precision, recall and F1 of each class that occurs in truth or answers."""
    counts: dict[str, list[int]] = {}
    for image in images:
        for name, wanted in zip(image.truth.categories, image.wanted.tolist(), strict=True):
            counts.setdefault(name, [0, 0, 0])[2] += wanted
        for said, found, wrong in zip(
            image.predicted.categories, (image.found >= 0).tolist(), image.wrong.tolist(), strict=True
        ):
            row = counts.setdefault(said or _OTHER, [0, 0, 0])
            row[0] += found
            row[1] += wrong
    return {name: _class_row(*counts[name]) for name in sorted(counts) if any(counts[name])}


def _class_row(found: int, wrong: int, objects: int) -> dict[str, Any]:
    precision, recall, value = f1([(found, wrong, objects - found)]) or (None, None, None)
    return {"objects": objects, "found": found, "wrong": wrong, "precision": precision, "recall": recall, "f1": value}


def recall_by_size(images: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    """Recall of small, medium and large objects, by the area of the extent (COCO's bounds, pixels of the image)."""
    areas = [(i.truth.extents[:, 2:] - i.truth.extents[:, :2]).prod(axis=1)[i.wanted] for i in images]
    hits = [np.isin(np.arange(len(i.truth.categories)), i.found)[i.wanted] for i in images]
    area, hit = np.concatenate(areas), np.concatenate(hits)
    rows, least = {}, 0.0
    for name, most in _SIZES.items():
        inside = (area >= least) & (area < most)
        count = int(inside.sum())
        rows[name] = {"objects": count, "recall": float(hit[inside].mean()) if count else None}
        least = most
    return rows
