"""Scene classification: the class of the image, by exact match after normalising."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from mmrs.instructions import prompts
from mmrs.record import Record
from training.evaluation.metrics import bootstrap_interval, normalise_answer, ratio, sum_by_image
from training.evaluation.task import Answered, AnswerForm, Protocol, Question, Scores, Task, Truth

OUTSIDE = "outside_class_list"


class Classification(Task[Truth]):
    """One question about each labelled image; `Truth.text` is the class."""

    name: ClassVar[str] = "classification"
    max_new_tokens: ClassVar[int] = 64

    @property
    def protocols(self) -> tuple[Protocol[Truth], ...]:
        rule = "equal to the class but for case, blanks, hyphens and the final full stop"
        return (Protocol("classification/exact", "accuracy", rule, score_classes),)

    def ask(self, record: Record, form: AnswerForm) -> Iterator[tuple[str, Truth]]:
        if record.label is not None:
            yield prompts.CLASSIFICATION, Truth(record.label)

    def failures(self, answered: Answered[Truth]) -> Sequence[str]:
        known = {normalise_answer(category) for category in answered.question.form.categories}
        return [] if normalise_answer(answered.answer.text) in known else [OUTSIDE]

    def constant_answers(self, questions: Sequence[Question[Truth]]) -> Sequence[str]:
        ((majority, _),) = Counter(question.truth.text for question in questions).most_common(1)
        return [majority] * len(questions)

    def is_wrong(self, answered: Answered[Truth]) -> bool:
        return normalise_answer(answered.answer.text) != normalise_answer(answered.question.truth.text)


def score_classes(pairs: Sequence[Answered[Truth]]) -> Scores:
    """Top-1 accuracy; in the details the mean of the classes' accuracies and what is taken for what."""
    given = [normalise_answer(pair.answer.text) for pair in pairs]
    wanted = [normalise_answer(pair.question.truth.text) for pair in pairs]
    right = np.array([answer == truth for answer, truth in zip(given, wanted, strict=True)], dtype=np.float64)
    by_class: dict[str, list[float]] = defaultdict(list)
    for truth, hit in zip(wanted, right.tolist(), strict=True):
        by_class[truth].append(hit)
    confused = Counter((truth, answer) for truth, answer in zip(wanted, given, strict=True) if truth != answer)
    rows = sum_by_image([pair.question.record.id for pair in pairs], np.column_stack([right, np.ones(len(pairs))]))
    return Scores(
        value=ratio(rows),
        interval=bootstrap_interval(rows, ratio),
        details={
            "mean_class_accuracy": float(np.mean([np.mean(hits) for hits in by_class.values()])),
            "most_confused": [[truth, answer, count] for (truth, answer), count in confused.most_common(5)],
        },
    )
