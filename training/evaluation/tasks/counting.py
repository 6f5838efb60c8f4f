"""Counting: how many objects of a class the image shows, as a number or a number word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mmrs.instructions import prompts
from mmrs.record import Record
from training.evaluation.metrics.intervals import ratio
from training.evaluation.metrics.words import first_number
from training.evaluation.task import Answered, AnswerForm, Protocol, Question, Scores, Task, Truth


@dataclass(frozen=True)
class TrueCount(Truth):
    """How many objects of the class are to be seen, from `least` (without difficult ones) to `most` (with them)."""

    least: int
    most: int


class Counting(Task[TrueCount]):
    """One question about each class that a wholly labelled record has objects of, in order of appearance."""

    name: ClassVar[str] = "counting"
    built_for: ClassVar[str] = "detection-hbb"
    max_new_tokens: ClassVar[int] = 16

    @property
    def protocols(self) -> tuple[Protocol[TrueCount], ...]:
        rule = "first number of the answer, in digits or words up to one hundred, equal to the number of objects"
        return (Protocol("counting/exact", "accuracy", rule, score_counts),)

    def ask(self, record: Record, form: AnswerForm) -> Iterator[tuple[str, TrueCount]]:
        # An ignored region may hold any number of objects, and a row that was not understood may be one.
        if record.unread_rows or any(item.ignore for item in record.objects):
            return
        most = Counter(item.category for item in record.objects)
        least = Counter(item.category for item in record.objects if not item.difficult)
        for category, count in most.items():
            prompt = prompts.COUNTING.format(plural=prompts.plural(category))
            yield prompt, TrueCount(f"{count} {category}", least[category], count)

    def failures(self, answered: Answered[TrueCount]) -> Sequence[str]:
        return [] if first_number(answered.answer.text) is not None else ["no_number"]

    def constant_answers(self, questions: Sequence[Question[TrueCount]]) -> Sequence[str]:
        ((usual, _),) = Counter(question.truth.most for question in questions).most_common(1)
        return [str(usual)] * len(questions)

    def reference(self, question: Question[TrueCount]) -> str:
        return str(question.truth.most)

    def is_wrong(self, answered: Answered[TrueCount]) -> bool:
        return _error(answered) != 0


def score_counts(pairs: Sequence[Answered[TrueCount]]) -> Scores:
    """Share of exact counts; in the details within one, and the mean absolute error of the answers with a number."""
    errors = [_error(pair) for pair in pairs]
    exact = np.array([error == 0 for error in errors], dtype=np.float64)
    read = [error for error in errors if error is not None]
    return Scores.of_sums(
        [pair.question.record.id for pair in pairs],
        np.column_stack([exact, np.ones(len(pairs))]),
        ratio,
        {
            "within_one": float(np.mean([error is not None and error <= 1 for error in errors])),
            "mean_absolute_error_of_numbers": float(np.mean(read)) if read else None,
            "answers_with_a_number": len(read),
        },
    )


def _error(pair: Answered[TrueCount]) -> int | None:
    """How far the answer's number is from the true ones; None without a number."""
    said = first_number(pair.answer.text)
    if said is None:
        return None
    return max(pair.question.truth.least - said, said - pair.question.truth.most, 0)
