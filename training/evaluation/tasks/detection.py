"""Detection of all objects, with horizontal or with oriented boxes: F1 at an IoU threshold, needing no confidences.

Truth is every object of the record, however many there are. Ignored objects count neither as found nor as missed. Where
a source labels only some classes in an image, predictions of its other classes are left out: nobody knows whether they
are right.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from mmrs.geometry import Array, box_iou, quad_from_hbb
from mmrs.instructions import prompts
from mmrs.instructions.answers import (
    ParsedGroup,
    count_word,
    format_absence,
    format_detections,
    is_absence,
    parse_detections,
)
from mmrs.instructions.prompts import plural
from mmrs.record import Record
from training.evaluation.canvas import Canvas
from training.evaluation.metrics import DetectionCounts, bootstrap_interval, count_detections, f1, f1_score
from training.evaluation.task import Answered, AnswerForm, Protocol, Question, Scores, Task, Truth

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TrueBoxes(Truth):
    """The objects of one image in pixels: quads ``(N, 4, 2)``, extents ``(N, 4)``, categories, which are ignored.

    `labelled` are the classes whose objects are all among them.
    """

    quads: Array
    extents: Array
    categories: tuple[str, ...]
    ignored: Flags
    labelled: frozenset[str]


@dataclass(frozen=True)
class PredictedBoxes:
    """Boxes of an answer: quads ``(N, 4, 2)``, extents ``(N, 4)``, and each one's category (None: no known name)."""

    quads: Array
    extents: Array
    categories: tuple[str | None, ...]
    malformed: int


@dataclass(frozen=True, slots=True)
class _ImageScore:
    """One answer against one image's truth: counts with and without classes, best IoU of each true box."""

    counts: DetectionCounts
    any_class: DetectionCounts
    best_iou: list[float]
    count_is_right: bool
    malformed: int


class _Detection(Task[TrueBoxes]):
    """What both kinds of boxes share; subclasses say which shapes are compared."""

    max_new_tokens: ClassVar[int] = 256

    @property
    def protocols(self) -> tuple[Protocol[TrueBoxes], ...]:
        return tuple(
            Protocol(
                f"{self.name}/f1-{percent}",
                "f1",
                f"one-to-one matching in each class at IoU {percent / 100}, best first; unreadable boxes are false",
                partial(self._score, threshold=percent / 100),
            )
            for percent in (50, 25)
        )

    @abstractmethod
    def iou(self, predicted: PredictedBoxes, truth: TrueBoxes) -> Array:
        """IoU ``(predictions, true boxes)``."""

    @abstractmethod
    def written(self, question: Question[TrueBoxes], positions: npt.NDArray[np.int64]) -> str:
        """The true shapes at `positions` in the dialect of the answers, brackets included."""

    @abstractmethod
    def outlines(self, truth: TrueBoxes) -> Array:
        """The true shapes as quads ``(N, 4, 2)``."""

    def ask(self, record: Record, form: AnswerForm) -> Iterator[tuple[str, TrueBoxes]]:
        yield prompts.DETECTION_ALL[self.name], true_boxes(record, form)

    def reference(self, question: Question[TrueBoxes]) -> str:
        wanted = ~question.truth.ignored
        names = np.array(question.truth.categories)[wanted]
        groups = [
            (name, int((names == name).sum()), self.written(question, wanted.nonzero()[0][names == name]))
            for name in dict.fromkeys(names.tolist())
        ]
        return format_detections(groups)

    def failures(self, answered: Answered[TrueBoxes]) -> Sequence[str]:
        groups = _groups(answered)
        reasons = {
            "malformed_box": any(group.boxes.malformed for group in groups),
            "unknown_class": any(group.category is None for group in groups),
            "no_boxes_and_no_absence": not groups and not is_absence(answered.answer.text),
        }
        return [reason for reason, holds in reasons.items() if holds]

    def constant_answers(self, questions: Sequence[Question[TrueBoxes]]) -> Sequence[str]:
        return [format_absence("object")] * len(questions)

    def draw(self, canvas: Canvas, answered: Answered[TrueBoxes]) -> None:
        canvas.outline_truth(self.outlines(answered.question.truth))
        canvas.outline_answer(predicted_boxes(answered).quads)

    def _score(self, pairs: Sequence[Answered[TrueBoxes]], threshold: float) -> Scores:
        images = [self._compare(pair, threshold) for pair in pairs]
        rows = [astuple(image.counts) for image in images]
        best = [iou for image in images for iou in image.best_iou]
        # Without an object to find, F1 and recall are undefined, whatever is answered.
        precision, recall, value = f1(rows) or (None, None, None)
        found, wrong, missed = (int(count) for count in np.sum(rows, axis=0))
        return Scores(
            value=value,
            interval=bootstrap_interval(rows, f1_score),
            details={
                "precision": precision,
                "recall": recall,
                "f1_class_agnostic": f1_score([astuple(image.any_class) for image in images]),
                "mean_best_iou": float(np.mean(best)) if best else None,
                "count_accuracy": float(np.mean([image.count_is_right for image in images])),
                "true_positives": found,
                "false_positives": wrong,
                "false_negatives": missed,
                "malformed_boxes": sum(image.malformed for image in images),
                "iou_threshold": threshold,
            },
        )

    def _compare(self, pair: Answered[TrueBoxes], threshold: float) -> _ImageScore:
        truth, predicted = pair.question.truth, predicted_boxes(pair)
        iou = self.iou(predicted, truth)
        wanted = ~truth.ignored
        anything = ["object"] * len(predicted.categories), ["object"] * len(truth.categories)
        return _ImageScore(
            counts=count_detections(
                iou, predicted.categories, truth.categories, truth.ignored, predicted.malformed, threshold
            ),
            any_class=count_detections(iou, *anything, truth.ignored, predicted.malformed, threshold),
            best_iou=iou[:, wanted].max(axis=0).tolist() if len(iou) else [0.0] * int(wanted.sum()),
            count_is_right=len(predicted.categories) + predicted.malformed == int(wanted.sum()),
            malformed=predicted.malformed,
        )


class HorizontalDetection(_Detection):
    """Horizontal boxes; the extent of an object without a true one."""

    name: ClassVar[str] = "detection-hbb"

    def iou(self, predicted: PredictedBoxes, truth: TrueBoxes) -> Array:
        return box_iou(predicted.extents, truth.extents)

    def written(self, question: Question[TrueBoxes], positions: npt.NDArray[np.int64]) -> str:
        return question.form.dialect.format_hbb(question.truth.extents[positions], question.frame)

    def outlines(self, truth: TrueBoxes) -> Array:
        return quad_from_hbb(truth.extents)


class OrientedDetection(_Detection):
    """Oriented boxes, compared as polygons. A horizontal box answers as the quad of its corners."""

    name: ClassVar[str] = "detection-obb"

    def iou(self, predicted: PredictedBoxes, truth: TrueBoxes) -> Array:
        from mmrs.polygons import quad_iou  # shapely, which detection with horizontal boxes does without

        return quad_iou(predicted.quads, truth.quads)

    def written(self, question: Question[TrueBoxes], positions: npt.NDArray[np.int64]) -> str:
        return question.form.dialect.format_obb(question.truth.quads[positions], question.frame)

    def outlines(self, truth: TrueBoxes) -> Array:
        return truth.quads


def true_boxes(record: Record, form: AnswerForm) -> TrueBoxes:
    """The boxes that a record states."""
    return TrueBoxes(
        text=_counts_text(Counter(item.category for item in record.objects if not item.ignore)),
        quads=np.array([item.quad for item in record.objects], dtype=np.float64).reshape(-1, 4, 2),
        extents=np.array([item.extent() for item in record.objects], dtype=np.float64).reshape(-1, 4),
        categories=tuple(item.category for item in record.objects),
        ignored=np.array([item.ignore for item in record.objects], dtype=bool),
        labelled=frozenset(record.metadata.get("labelled_classes", form.categories)),
    )


def predicted_boxes(answered: Answered[TrueBoxes]) -> PredictedBoxes:
    """The boxes of an answer, without those of known classes that are not labelled in the image."""
    unlabelled = frozenset(answered.question.form.categories) - answered.question.truth.labelled
    groups = [group for group in _groups(answered) if group.category not in unlabelled]
    quads = [_quads(group) for group in groups]
    extents = [group.boxes.hbb for group in groups]
    return PredictedBoxes(
        quads=np.concatenate(quads) if quads else np.empty((0, 4, 2)),
        extents=np.concatenate(extents) if extents else np.empty((0, 4)),
        categories=tuple(group.category for group in groups for _ in range(len(group.boxes.hbb))),
        malformed=sum(group.boxes.malformed for group in groups),
    )


def _groups(answered: Answered[TrueBoxes]) -> list[ParsedGroup]:
    question = answered.question
    return parse_detections(answered.answer.text, question.frame, question.form.categories, question.form.dialect)


def _quads(group: ParsedGroup) -> Array:
    return group.boxes.quads if group.boxes.quads is not None else quad_from_hbb(group.boxes.hbb)


def _counts_text(counts: Counter[str]) -> str:
    named = [f"{count_word(count)} {name if count == 1 else plural(name)}" for name, count in counts.items()]
    return ", ".join(named) or "no objects"
