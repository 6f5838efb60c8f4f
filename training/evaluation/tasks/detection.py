"""Detection of all objects, with horizontal or with oriented boxes.

Truth is every object of the record, however many there are. Ignored and difficult objects count neither as found nor as
missed. Where rows of an image's annotation were not understood, its known objects are to be found all the same, and no
box beside them is called wrong: it may be what a row meant. Where a source labels only some classes in an image,
predictions of its other classes are left out: nobody knows whether they are right.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from mmrs.geometry import Array, box_iof, box_iou, quad_from_hbb
from mmrs.instructions import prompts
from mmrs.instructions.answers import format_absence, format_detections, is_absence
from mmrs.record import Record
from training.evaluation.boxes.details import box_panels
from training.evaluation.boxes.outcome import (
    PredictedBoxes,
    Shapes,
    TrueBoxes,
    parsed_groups,
    predicted_boxes,
    true_boxes,
)
from training.evaluation.boxes.scores import answer_f1, score_all_right, score_f1, score_ranked_ap, score_tied_ap
from training.evaluation.boxes.sure import score_sure_f1
from training.evaluation.canvas import Canvas
from training.evaluation.panels import Panel
from training.evaluation.task import Answered, AnswerForm, BoxesAsked, Protocol, Question, Task

_PERCENT = (50, 25)
_AP_PERCENT = (50, 40)


class BoxTask(Task[TrueBoxes]):
    """What tasks share whose answers list boxes by class; subclasses say what is asked and how boxes are compared."""

    max_new_tokens: ClassVar[int] = 256
    boxes: ClassVar[BoxesAsked | None] = "listed"
    shapes: ClassVar[Shapes]

    @property
    def protocols(self) -> tuple[Protocol[TrueBoxes], ...]:
        return (*self._f1(), *self._f1_of_sure(), *self._average_precision(), *self._all_right())

    @abstractmethod
    def written(self, question: Question[TrueBoxes], positions: npt.NDArray[np.int64]) -> str:
        """The true shapes at `positions` in the dialect of the answers, brackets included."""

    @abstractmethod
    def outlines(self, truth: TrueBoxes) -> Array:
        """The true shapes as quads ``(N, 4, 2)``."""

    def reference(self, question: Question[TrueBoxes]) -> str:
        listed = question.truth.listed
        names = np.array(question.truth.categories)[listed]
        groups = [
            (name, int((names == name).sum()), self.written(question, listed.nonzero()[0][names == name]))
            for name in dict.fromkeys(names.tolist())
        ]
        return format_detections(groups)

    def failures(self, answered: Answered[TrueBoxes]) -> Sequence[str]:
        groups = parsed_groups(answered)
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

    def quality(self, answered: Answered[TrueBoxes]) -> float:
        """F1 at IoU 0.5; of an image without objects, whether nothing is listed."""
        return answer_f1(answered, self.shapes, 0.5)

    def is_wrong(self, answered: Answered[TrueBoxes]) -> bool:
        return self.quality(answered) == 0

    def panels(self, pairs: Sequence[Answered[TrueBoxes]]) -> Sequence[Panel]:
        return box_panels(pairs, self.shapes)

    def _f1(self) -> Iterator[Protocol[TrueBoxes]]:
        for percent in _PERCENT:
            rule = f"one-to-one matching in each class at IoU {percent / 100}, best first; unreadable boxes are false"
            score = partial(score_f1, shapes=self.shapes, threshold=percent / 100)
            yield Protocol(f"{self.name}/f1-{percent}", "f1", rule, score)

    def _f1_of_sure(self) -> Iterator[Protocol[TrueBoxes]]:
        for percent in _PERCENT:
            rule = (
                f"as f1-{percent}, the surest box first, of boxes at least as sure as serves the other half of the "
                "scenes best"
            )
            score = partial(score_sure_f1, shapes=self.shapes, threshold=percent / 100)
            yield Protocol(f"{self.name}/f1-conf-{percent}", "f1", rule, score)

    def _average_precision(self) -> Iterator[Protocol[TrueBoxes]]:
        for percent in _AP_PERCENT:
            threshold = percent / 100
            mean = f"mean over classes of AP at IoU {threshold}, 101 recalls (voc07, area in details)"
            ranked = partial(score_ranked_ap, shapes=self.shapes, threshold=threshold)
            yield Protocol(
                f"{self.name}/ap-tied-{percent}",
                "ap",
                f"{mean}; all boxes are one operating point, whatever their order",
                partial(score_tied_ap, shapes=self.shapes, threshold=threshold),
            )
            yield Protocol(
                f"{self.name}/ap-conf-{percent}",
                "ap",
                f"{mean}; ranked by the probabilities of their tokens",
                partial(ranked, by_confidence=True),
            )
            yield Protocol(
                f"{self.name}/ap-nc-{percent}",
                "ap",
                f"{mean}; without confidences, in the order of the answers",
                partial(ranked, by_confidence=False),
            )

    def _all_right(self) -> Iterator[Protocol[TrueBoxes]]:
        rule = "share of answers that find every object at IoU 0.5 and nothing else (grec/v1)"
        score = partial(score_all_right, shapes=self.shapes, threshold=0.5)
        yield Protocol(f"{self.name}/all-right-50", "accuracy", rule, score)


def _extents_iou(predicted: PredictedBoxes, truth: TrueBoxes) -> Array:
    return box_iou(predicted.extents, truth.extents)


def _extents_inside(predicted: PredictedBoxes, truth: TrueBoxes) -> Array:
    return box_iof(predicted.extents, truth.extents)


def _quads_iou(predicted: PredictedBoxes, truth: TrueBoxes) -> Array:
    from mmrs.polygons import quad_iou, untwisted  # shapely, which horizontal boxes do without

    return quad_iou(untwisted(predicted.quads), truth.quads)


def _quads_inside(predicted: PredictedBoxes, truth: TrueBoxes) -> Array:
    from mmrs.polygons import quad_iof, untwisted

    return quad_iof(untwisted(predicted.quads), truth.quads)


class HorizontalDetection(BoxTask):
    """Horizontal boxes; the extent of an object without a true one."""

    name: ClassVar[str] = "detection-hbb"
    shapes: ClassVar[Shapes] = Shapes(_extents_iou, _extents_inside)

    def ask(self, record: Record, form: AnswerForm) -> Iterator[tuple[str, TrueBoxes]]:
        yield prompts.DETECTION_ALL[self.name], true_boxes(record, form)

    def written(self, question: Question[TrueBoxes], positions: npt.NDArray[np.int64]) -> str:
        return question.form.dialect.format_hbb(question.truth.extents[positions], question.frame)

    def outlines(self, truth: TrueBoxes) -> Array:
        return quad_from_hbb(truth.extents)


class OrientedDetection(BoxTask):
    """Oriented boxes, compared as polygons. A horizontal box answers as the quad of its corners."""

    name: ClassVar[str] = "detection-obb"
    shapes: ClassVar[Shapes] = Shapes(_quads_iou, _quads_inside)

    def ask(self, record: Record, form: AnswerForm) -> Iterator[tuple[str, TrueBoxes]]:
        yield prompts.DETECTION_ALL[self.name], true_boxes(record, form)

    def written(self, question: Question[TrueBoxes], positions: npt.NDArray[np.int64]) -> str:
        return question.form.dialect.format_obb(question.truth.quads[positions], question.frame)

    def outlines(self, truth: TrueBoxes) -> Array:
        return truth.quads
