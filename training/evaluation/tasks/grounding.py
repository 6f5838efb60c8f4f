"""Visual grounding: the one box that an expression means.

Boxes are compared in pixels of the image without its padding. An answer without a readable box has IoU 0: in
`cumulative_iou` its intersection is 0 and its union the target's area. Of several boxes the first counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from mmrs.geometry import Array, SquareFrame, quad_from_hbb
from mmrs.instructions import prompts
from mmrs.instructions.answers import box_spans
from mmrs.instructions.dialects import ParsedBoxes
from mmrs.record import Record
from training.evaluation.canvas import Canvas
from training.evaluation.metrics.intervals import bootstrap_interval, ratio, sum_by_image
from training.evaluation.panels import Cell, Panel, TablePanel
from training.evaluation.task import Answered, AnswerForm, BoxesAsked, Protocol, Question, Scores, Task, Truth

_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
_SHOWN = (0.1, 0.25, *_THRESHOLDS)


@dataclass(frozen=True)
class TargetBox(Truth):
    """The expression (`text`) and its object's extent in pixels, ``(4,)``."""

    box: Array


class VisualGrounding(Task[TargetBox]):
    """One question about each expression whose object is not ignored."""

    name: ClassVar[str] = "visual-grounding"
    max_new_tokens: ClassVar[int] = 64
    boxes: ClassVar[BoxesAsked | None] = "one"

    @property
    def protocols(self) -> tuple[Protocol[TargetBox], ...]:
        pixels = "share of expressions whose box has IoU >= 0.5 with the target, in pixels of the image without padding"
        legacy = "the same on fractions of the padded square with 1 added to each side, as two public scorers do"
        return (
            Protocol("grounding/v1", "pr@0.5", pixels, partial(score_boxes, added=0.0)),
            Protocol(
                "grounding/plus1_unit",
                "pr@0.5",
                legacy,
                partial(score_boxes, added=1.0),
                warning=(
                    "adding 1 to sides that are at most 1 long makes boxes that do not touch count as found; "
                    "compare it with values of the same rule alone"
                ),
            ),
        )

    def ask(self, record: Record, form: AnswerForm) -> Iterator[tuple[str, TargetBox]]:
        for expression in record.expressions:
            target = record.objects[expression.object]
            if not target.ignore:
                box = np.array(target.extent(), dtype=np.float64)
                yield prompts.VISUAL_GROUNDING.format(text=expression.text), TargetBox(expression.text, box)

    def failures(self, answered: Answered[TargetBox]) -> Sequence[str]:
        found = boxes_of_answer(answered)
        reasons = {
            "no_box": not len(found.hbb) and not found.malformed,
            "malformed_box": bool(found.malformed),
            "several_boxes": len(found.hbb) > 1,
        }
        return [reason for reason, holds in reasons.items() if holds]

    def constant_answers(self, questions: Sequence[Question[TargetBox]]) -> Sequence[str]:
        """The median true box of the padded square, coordinate by coordinate."""
        corners = [q.frame.to_fractions(q.truth.box.reshape(2, 2)).reshape(4) for q in questions]
        middle = np.median(corners, axis=0).reshape(2, 2)
        return [_written(question, question.frame.to_pixels(middle).reshape(4)) for question in questions]

    def reference(self, question: Question[TargetBox]) -> str:
        return _written(question, question.truth.box)

    def quality(self, answered: Answered[TargetBox]) -> float:
        """The IoU."""
        return first_box_iou(answered)

    def is_wrong(self, answered: Answered[TargetBox]) -> bool:
        return self.quality(answered) < _THRESHOLDS[0]

    def panels(self, pairs: Sequence[Answered[TargetBox]]) -> Sequence[Panel]:
        iou = np.array([self.quality(pair) for pair in pairs])
        rows: list[list[Cell]] = [
            [f">= {least}", int((iou >= least).sum()), float((iou >= least).mean())] for least in _SHOWN
        ]
        return [TablePanel("IoU of the answers", ("IoU", "expressions", "share"), rows, shares=("share",))]

    def draw(self, canvas: Canvas, answered: Answered[TargetBox]) -> None:
        canvas.outline_truth(quad_from_hbb(answered.question.truth.box))
        canvas.outline_answer(quad_from_hbb(boxes_of_answer(answered).hbb[:1]))


def score_boxes(pairs: Sequence[Answered[TargetBox]], added: float) -> Scores:
    """Pr@0.5; in the details further thresholds, the mean IoU and the cumulative IoU.

    Args:
        added: to the sides of all boxes, which are then fractions of the padded square; 0: boxes are in pixels.
    """
    areas = np.array([_overlap(pair, added) for pair in pairs])
    iou = np.divide(areas[:, 0], areas[:, 1], out=np.zeros(len(areas)), where=areas[:, 1] > 0)
    images = [pair.question.record.id for pair in pairs]
    iou_rows = sum_by_image(images, np.column_stack([iou, np.ones(len(pairs))]))
    return Scores.of_sums(
        images,
        np.column_stack([iou >= _THRESHOLDS[0], np.ones(len(pairs))]),
        ratio,
        {
            **{f"pr@{threshold}": float((iou >= threshold).mean()) for threshold in _THRESHOLDS},
            "mean_iou": float(iou.mean()),
            "mean_iou_interval_95": bootstrap_interval(iou_rows, ratio),
            "cumulative_iou": ratio(areas),
        },
    )


def _overlap(pair: Answered[TargetBox], added: float) -> tuple[float, float]:
    """Areas of intersection and of union of the answer's first box and the target."""
    frame, found = pair.question.frame, boxes_of_answer(pair).hbb
    target = _in_frame(pair.question.truth.box, frame, added)
    sides = np.clip(target[2:] - target[:2] + added, 0, None)
    if not len(found):
        return 0.0, float(sides.prod())
    box = _in_frame(found[0], frame, added)
    shared = np.minimum(target[2:], box[2:]) - np.maximum(target[:2], box[:2]) + added
    intersection = float(np.clip(shared, 0, None).prod())
    own = float(np.clip(box[2:] - box[:2] + added, 0, None).prod())
    return intersection, float(sides.prod()) + own - intersection


def _in_frame(box: Array, frame: SquareFrame, added: float) -> Array:
    return frame.to_fractions(box.reshape(2, 2)).reshape(4) if added else box


def first_box_iou(answered: Answered[TargetBox]) -> float:
    """IoU of the answer's first box with the target, in pixels; 0 where it has none."""
    overlap, union = _overlap(answered, 0.0)
    return overlap / union if union else 0.0


def boxes_of_answer(answered: Answered[TargetBox]) -> ParsedBoxes:
    """The boxes of the answer: all that stand in brackets; the whole answer where there are none."""
    question, text = answered.question, answered.answer.text
    pieces = [text[start:end] for start, end in box_spans(text)]
    plain = text.strip().strip("().").strip()
    listed = ";".join(pieces) if pieces else plain if plain[:1].isdigit() or plain[:1] == "." else ""
    return question.form.dialect.parse(listed, question.frame)


def _written(question: Question[TargetBox], box: Array) -> str:
    return question.form.dialect.format_hbb([box], question.frame)
