"""The cycle of grounding: the box that was answered to a phrase is described, and has to be that phrase again.

A second turn about every answer of `visual-grounding`: the model is asked for the region that it named itself. A model
that grounds by luck, or that describes what the phrase suggests and not what the box shows, fails one of the turns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mmrs.geometry import quad_from_hbb
from mmrs.instructions import prompts
from mmrs.record import Record
from training.evaluation.canvas import Canvas
from training.evaluation.captions.ptb import common_words
from training.evaluation.metrics.intervals import ratio
from training.evaluation.metrics.words import normalise_answer
from training.evaluation.task import Answered, AnswerForm, Protocol, Question, Scores, Task, Truth
from training.evaluation.tasks.grounding import TargetBox, VisualGrounding, boxes_of_answer, first_box_iou

_LEAST_IOU = 0.5


@dataclass(frozen=True)
class AnsweredBox(Truth):
    """The phrase (`text`), and what was answered to it: `box` as the question shows it, its `iou` with the target.

    `box` is empty where the answer had none, and nothing is asked then.
    """

    target: TargetBox
    box: str
    iou: float


class GroundingCycle(Task[AnsweredBox]):
    """One question about each answer of `visual-grounding`, asked where the task is named."""

    name: ClassVar[str] = "grounding-cycle"
    built_for: ClassVar[str] = VisualGrounding.name
    follows: ClassVar[str] = VisualGrounding.name
    max_new_tokens: ClassVar[int] = 64

    @property
    def protocols(self) -> tuple[Protocol[AnsweredBox], ...]:
        rule = (
            "share of expressions whose answered box has IoU >= 0.5 with the target and, asked about in a second turn, "
            "is described by the very phrase, letter case and punctuation apart; an unreadable box closes none"
        )
        return (Protocol("grounding-cycle/v1", "closed", rule, _score),)

    def ask(self, record: Record, form: AnswerForm) -> Iterator[tuple[str, AnsweredBox]]:
        return iter(())

    def ask_about(self, first: Answered[Any]) -> tuple[str, AnsweredBox]:
        question, found = first.question, boxes_of_answer(first).hbb
        iou = first_box_iou(first)
        if not len(found):
            return "", AnsweredBox(question.truth.text, question.truth, "", iou)
        box = question.form.dialect.format_hbb(found[:1], question.frame)
        prompt = prompts.REGION_CAPTIONING.format(box=box)
        return prompt, AnsweredBox(question.truth.text, question.truth, box, iou)

    def failures(self, answered: Answered[AnsweredBox]) -> Sequence[str]:
        return [] if normalise_answer(answered.answer.text) else ["no_words"]

    def constant_answers(self, questions: Sequence[Question[AnsweredBox]]) -> Sequence[str]:
        """The phrase that most expressions have; the boxes stay those that were answered."""
        ((phrase, _),) = Counter(question.truth.text for question in questions).most_common(1)
        return [phrase] * len(questions)

    def reference(self, question: Question[AnsweredBox]) -> str:
        return question.truth.text

    def quality(self, answered: Answered[AnsweredBox]) -> float:
        """The IoU of the first turn times the word F1 of the second."""
        return answered.question.truth.iou * _word_overlap(answered)

    def is_wrong(self, answered: Answered[AnsweredBox]) -> bool:
        return not (_is_found(answered) and _is_same(answered))

    def draw(self, canvas: Canvas, answered: Answered[AnsweredBox]) -> None:
        question = answered.question
        canvas.outline_truth(quad_from_hbb(question.truth.target.box))
        canvas.outline_answer(quad_from_hbb(question.form.dialect.parse(question.truth.box, question.frame).hbb))


def _score(pairs: Sequence[Answered[AnsweredBox]]) -> Scores:
    found = np.array([_is_found(pair) for pair in pairs])
    same = np.array([_is_same(pair) for pair in pairs])
    return Scores.of_sums(
        [pair.question.record.id for pair in pairs],
        np.column_stack([found & same, np.ones(len(pairs))]),
        ratio,
        {
            "pr@0.5": float(found.mean()),
            "mean_iou": float(np.mean([pair.question.truth.iou for pair in pairs])),
            "exact_phrase": float(same.mean()),
            "exact_phrase_where_found": float(same[found].mean()) if found.any() else None,
            "word_f1": float(np.mean([_word_overlap(pair) for pair in pairs])),
            "without_box": sum(not pair.question.truth.box for pair in pairs),
        },
    )


def _is_found(pair: Answered[AnsweredBox]) -> bool:
    return pair.question.truth.iou >= _LEAST_IOU


def _is_same(pair: Answered[AnsweredBox]) -> bool:
    said, phrase = (normalise_answer(text) for text in (pair.answer.text, pair.question.truth.text))
    return bool(pair.question.truth.box) and said == phrase


def _word_overlap(pair: Answered[AnsweredBox]) -> float:
    return common_words(pair.answer.text, pair.question.truth.text) if pair.question.truth.box else 0.0
