"""Answers -> scores of a split, by task and source. Pure: no model, no files."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from mmrs.geometry import SquareFrame, box_iou, quad_from_hbb
from mmrs.instructions.answers import ParsedGroup, parse_detections
from training.evaluation.metrics import bootstrap_interval, count_detections, f1, normalise_answer
from training.evaluation.questions import Question, true_boxes

IOU_THRESHOLD = 0.5


def score(
    questions: Sequence[Question], answers: Sequence[str], categories: dict[str, tuple[str, ...]]
) -> dict[str, Any]:
    """Scores as plain values: ``{task: {source: {...}}}``. `categories` lists each source's class names."""
    grouped: dict[tuple[str, str], list[tuple[Question, str]]] = defaultdict(list)
    for question, answer in zip(questions, answers, strict=True):
        grouped[question.task, question.record.source].append((question, answer))
    scores: dict[str, Any] = {}
    for (task, source), pairs in sorted(grouped.items()):
        scorer = score_classification if task == "classification" else score_detection
        scores.setdefault(task, {})[source] = scorer(pairs, categories[source])
    return scores


def score_classification(pairs: Sequence[tuple[Question, str]], categories: Sequence[str]) -> dict[str, Any]:
    """Top-1 accuracy with a 95 % interval, the mean of the classes' accuracies, and answers that name no class."""
    known = {normalise_answer(category) for category in categories}
    given = [normalise_answer(answer) for _, answer in pairs]
    wanted = [normalise_answer(question.reference) for question, _ in pairs]
    right = np.array([answer == reference for answer, reference in zip(given, wanted, strict=True)], dtype=np.float64)
    by_class: dict[str, list[float]] = defaultdict(list)
    for reference, hit in zip(wanted, right, strict=True):
        by_class[reference].append(float(hit))
    confused = Counter(
        (reference, answer) for reference, answer in zip(wanted, given, strict=True) if reference != answer
    )
    return {
        "images": len(pairs),
        "accuracy": float(right.mean()),
        "accuracy_95": bootstrap_interval(right, np.mean),
        "mean_class_accuracy": float(np.mean([np.mean(hits) for hits in by_class.values()])),
        "outside_class_list": sum(answer not in known for answer in given),
        "most_confused": [[reference, answer, count] for (reference, answer), count in confused.most_common(5)],
    }


def score_detection(pairs: Sequence[tuple[Question, str]], categories: Sequence[str]) -> dict[str, Any]:
    """Precision, recall and F1 at IoU 0.5 (class-aware, and class-agnostic), mean best IoU, count-word accuracy."""
    rows, agnostic, best, counted, malformed = [], [], [], [], 0
    for question, answer in pairs:
        groups = parse_detections(answer, frame_of(question), categories, question.dialect)
        iou, predicted = iou_with_truth(question, groups)
        truth = true_boxes(question.record)
        broken = sum(group.boxes.malformed for group in groups)
        malformed += broken
        common = (truth.ignored, broken, IOU_THRESHOLD)
        rows.append(tuple(asdict(count_detections(iou, predicted, truth.categories, *common)).values()))
        anything = (["object"] * len(predicted), ["object"] * len(truth.categories))
        agnostic.append(tuple(asdict(count_detections(iou, *anything, *common)).values()))
        wanted = ~truth.ignored
        best += iou[:, wanted].max(axis=0).tolist() if len(iou) else [0.0] * int(wanted.sum())
        counted.append(len(predicted) + broken == int(wanted.sum()))
    precision, recall, f1_score = f1(rows)
    found, wrong, missed = (int(value) for value in np.sum(rows, axis=0))
    return {
        "images": len(pairs),
        "f1": f1_score,
        "f1_95": bootstrap_interval(rows, lambda sample: f1(sample)[2]),
        "precision": precision,
        "recall": recall,
        "f1_class_agnostic": f1(agnostic)[2],
        "mean_best_iou": float(np.mean(best)) if best else 0.0,
        "count_accuracy": float(np.mean(counted)),
        "true_positives": found,
        "false_positives": wrong,
        "false_negatives": missed,
        "malformed_boxes": malformed,
        "iou_threshold": IOU_THRESHOLD,
    }


def frame_of(question: Question) -> SquareFrame:
    """The padded-square frame of the question's image."""
    return SquareFrame(question.record.image.width, question.record.image.height)


def iou_with_truth(question: Question, groups: Sequence[ParsedGroup]) -> tuple[np.ndarray, list[str | None]]:
    """IoU ``(predictions, true boxes)`` and the predictions' categories: polygons for oriented boxes, else extents."""
    truth = true_boxes(question.record)
    predicted = [group.category for group in groups for _ in range(len(group.boxes.hbb))]
    if question.task == "detection-obb":
        from mmrs.polygons import quad_iou  # shapely, which detection with horizontal boxes does without

        quads = [_quads(group) for group in groups]
        return quad_iou(np.concatenate(quads) if quads else np.empty((0, 4, 2)), truth.quads), predicted
    boxes = [group.boxes.hbb for group in groups]
    return box_iou(np.concatenate(boxes) if boxes else np.empty((0, 4)), truth.extents), predicted


def _quads(group: ParsedGroup) -> np.ndarray:
    if group.boxes.quads is not None:
        return group.boxes.quads
    # A horizontal box answers an oriented question as the quad of its corners.
    return quad_from_hbb(group.boxes.hbb)
