"""Scores of predicted boxes by named rules: F1, average precision of text without or with confidences, all right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mmrs.errors import UserError
from training.evaluation.boxes.details import by_class, recall_by_size
from training.evaluation.boxes.outcome import Outcome, Shapes, TrueBoxes, outcome, outcomes, predicted_boxes
from training.evaluation.metrics.average_precision import AveragePrecision, ranked_precision, tied_precision
from training.evaluation.metrics.intervals import image_draws, percentile_interval, ratio
from training.evaluation.metrics.matching import f1, f1_score
from training.evaluation.task import Answered, Scores


def score_f1(pairs: Sequence[Answered[TrueBoxes]], shapes: Shapes, threshold: float) -> Scores:
    """Precision, recall and F1 over all boxes; in the details by class, by size, and without regard to class."""
    images = outcomes(pairs, shapes, threshold)
    rows = [(len(image.found[image.found >= 0]), _false(image), _missed(image)) for image in images]
    best = np.concatenate([image.best_iou[image.wanted] for image in images])
    classes = by_class(images)
    macro = [row["f1"] for row in classes.values() if row["objects"]]
    return scores_of_counts(
        pairs,
        rows,
        {
            "f1_macro": float(np.mean(macro)) if macro else None,
            "f1_class_agnostic": f1_score([_class_agnostic(pair, shapes, threshold) for pair in pairs]),
            "mean_best_iou": float(best.mean()) if len(best) else None,
            "count_accuracy": float(np.mean([_count_is_right(image) for image in images])),
            "forgiven": sum(int(image.forgiven.sum()) for image in images),
            "malformed_boxes": sum(image.predicted.malformed for image in images),
            "images_with_unread_rows": sum(pair.question.record.unread_rows > 0 for pair in pairs),
            "iou_threshold": threshold,
            "by_class": classes,
            "recall_by_size": recall_by_size(images),
        },
    )


def scores_of_counts(
    pairs: Sequence[Answered[TrueBoxes]], rows: Sequence[tuple[int, int, int]], details: dict[str, Any]
) -> Scores:
    """F1 of the right, wrong and missed boxes of each answer; their sums and rates go before the details."""
    # Without an object to find, F1 and recall are undefined, whatever is answered.
    precision, recall, _ = f1(rows) or (None, None, None)
    found, wrong, missed = (int(count) for count in np.sum(rows, axis=0))
    sums = {"true_positives": found, "false_positives": wrong, "false_negatives": missed}
    names = [pair.question.record.id for pair in pairs]
    return Scores.of_sums(names, rows, f1_score, {"precision": precision, "recall": recall} | sums | details)


def answer_f1(pair: Answered[TrueBoxes], shapes: Shapes, threshold: float) -> float:
    """F1 of one answer; where there is nothing to find, 1 for no box and 0 for any."""
    (image,) = outcomes([pair], shapes, threshold)
    value = f1_score([(int((image.found >= 0).sum()), _false(image), _missed(image))])
    return float(not _false(image)) if value is None else value


def score_all_right(pairs: Sequence[Answered[TrueBoxes]], shapes: Shapes, threshold: float) -> Scores:
    """Share of answers that find every object and nothing else: F1 = 1 of the answer, the rule of gREC.

    An image of which no row was understood has no right answer that anybody knows, and does not count.
    """
    images = outcomes(pairs, shapes, threshold)
    known = np.array([image.wanted.any() or not image.truth.unread for image in images], dtype=np.float64)
    right = np.array([not _false(image) and not _missed(image) for image in images], dtype=np.float64)
    rows = np.column_stack([right * known, known])
    counts = [(int((image.found >= 0).sum()), _false(image), _missed(image)) for image in images]
    precision, recall, value = f1(counts) or (None, None, None)
    details = {"precision": precision, "recall": recall, "f1": value, "iou_threshold": threshold}
    return Scores.of_sums([pair.question.record.id for pair in pairs], rows, _defined_ratio, details)


def _defined_ratio(counts: npt.ArrayLike) -> float | None:
    """`ratio`; None where no question counts."""
    return ratio(counts) if np.sum(counts, axis=0)[1] else None


def score_tied_ap(pairs: Sequence[Answered[TrueBoxes]], shapes: Shapes, threshold: float) -> Scores:
    """Mean over classes of the AP of equally likely boxes: that of the worst order, whatever order they stand in."""
    images = outcomes(pairs, shapes, threshold)
    classes = _classes(images)
    # Per image and class: found, wrong, objects.
    rows = np.zeros((len(images), len(classes), 3))
    for row, image in zip(rows, images, strict=True):
        for number, category in enumerate(classes):
            named = _named(image, category)
            row[number] = ((image.found >= 0) & named).sum(), (image.wrong & named).sum(), _objects_of(image, category)

    def mean(sums: npt.NDArray[np.float64]) -> float | None:
        return _mean([tied_precision(*map(int, row)) for row in sums.sum(axis=0).reshape(-1, 3)])

    found = [tied_precision(*map(int, row)) for row in rows.sum(axis=0)]
    details = _ap_details(classes, found, threshold)
    if not classes:
        return Scores(None, None, details)
    return Scores.of_sums([pair.question.record.id for pair in pairs], rows.reshape(len(images), -1), mean, details)


def score_ranked_ap(
    pairs: Sequence[Answered[TrueBoxes]], shapes: Shapes, threshold: float, by_confidence: bool
) -> Scores:
    """Mean over classes of the AP of boxes by falling confidence, or (all equal) in the order of images and answers.

    Raises:
        UserError: `by_confidence`, and an answer with boxes came without probabilities.
    """
    images = outcomes(pairs, shapes, threshold, ranked=True)
    if by_confidence:
        check_confidences(pairs, images, "Score by ap-tied")
    classes = _classes(images)
    ranked = [_ranked(images, category, by_confidence) for category in classes]
    found = [ranked_precision(right, objects.sum()) for right, _, objects in ranked]
    interval = percentile_interval(_drawn_means(ranked, len(images)))
    return Scores(_mean(found), interval, _ap_details(classes, found, threshold))


def check_confidences(pairs: Sequence[Answered[TrueBoxes]], images: Sequence[Outcome], instead: str) -> None:
    """Look whether every answer with boxes says how sure they are.

    Raises:
        UserError: one does not; `instead` is what can be done without.
    """
    without = [p for p, i in zip(pairs, images, strict=True) if i.predicted.confidences is None and len(i.found)]
    if without:
        raise UserError(
            f"answer {without[0].answer.id}: no box_log_probabilities, by which boxes are ranked (as "
            f"{len(without) - 1} others). {instead}, or let `mmrs eval` write the answers."
        )


_Ranked = tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64], npt.NDArray[np.float64]]


def _ranked(images: Sequence[Outcome], category: str, by_confidence: bool) -> _Ranked:
    """Of one class: whether each box is right, its image's number, by falling confidence; objects of each image."""
    right, number, confidence = [], [], []
    objects = np.zeros(len(images))
    for place, image in enumerate(images):
        named = _named(image, category) & ~image.forgiven
        right.append(image.found[named] >= 0)
        number.append(np.full(int(named.sum()), place))
        given = image.predicted.confidences
        confidence.append(given[named] if by_confidence and given is not None else np.ones(int(named.sum())))
        objects[place] = _objects_of(image, category)
    order = np.argsort(-np.concatenate(confidence), kind="stable")
    return np.concatenate(right)[order], np.concatenate(number)[order], objects


def _drawn_means(ranked: Sequence[_Ranked], images: int) -> list[float]:
    means = []
    for drawn in image_draws(images):
        weight = drawn.astype(np.float64)
        values = [
            ranked_precision(right, float((weight * objects).sum()), weight[number])
            for right, number, objects in ranked
        ]
        mean = _mean(values)
        if mean is not None:
            means.append(mean)
    return means


def _ap_details(classes: Sequence[str], found: Sequence[AveragePrecision | None], threshold: float) -> dict[str, Any]:
    return {
        "voc07": _mean(found, lambda value: value.voc07),
        "area": _mean(found, lambda value: value.area),
        "iou_threshold": threshold,
        "by_class": {name: asdict(value) for name, value in zip(classes, found, strict=True) if value is not None},
    }


def _mean(
    values: Sequence[AveragePrecision | None],
    of: Callable[[AveragePrecision], float] = lambda value: value.coco101,
) -> float | None:
    """Over the classes that have objects."""
    defined = [of(value) for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def _class_agnostic(pair: Answered[TrueBoxes], shapes: Shapes, threshold: float) -> tuple[int, int, int]:
    """Counts of an answer when every class is called the same."""
    truth, predicted = pair.question.truth, predicted_boxes(pair)
    image = outcome(
        replace(truth, categories=("object",) * len(truth.categories)),
        replace(predicted, categories=("object",) * len(predicted.categories)),
        shapes,
        threshold,
    )
    return int((image.found >= 0).sum()), _false(image), _missed(image)


def _named(image: Outcome, category: str) -> npt.NDArray[np.bool_]:
    return np.array([name == category for name in image.predicted.categories], dtype=bool)


def _objects_of(image: Outcome, category: str) -> int:
    return sum(w and name == category for name, w in zip(image.truth.categories, image.wanted.tolist(), strict=True))


def _false(image: Outcome) -> int:
    return int(image.wrong.sum()) + image.predicted.malformed


def _missed(image: Outcome) -> int:
    return int(image.wanted.sum()) - int((image.found >= 0).sum())


def _count_is_right(image: Outcome) -> bool:
    """Difficult objects may be counted or not, and so may rows that were not understood."""
    said = len(image.found) + image.predicted.malformed
    most = int((image.wanted | image.truth.listed).sum()) + image.truth.unread
    return int(image.wanted.sum()) <= said <= most


def _classes(images: Sequence[Outcome]) -> list[str]:
    """Classes with an object to find, in alphabetical order: only they have a recall."""
    return sorted({name for i in images for name, wanted in zip(i.truth.categories, i.wanted, strict=True) if wanted})
