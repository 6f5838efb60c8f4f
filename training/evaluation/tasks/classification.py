"""Scene classification: the class of the image, named freely or out of the listed classes of the source."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import ClassVar

import numpy as np

from mmrs.instructions import prompts
from mmrs.instructions.class_names import class_spellings
from mmrs.record import Record
from training.evaluation.metrics.intervals import ratio
from training.evaluation.metrics.words import normalise_answer
from training.evaluation.panels import MatrixPanel, Panel
from training.evaluation.task import Answered, AnswerForm, Protocol, Question, Scores, Task, Truth

OUTSIDE = "outside_class_list"


class Classification(Task[Truth]):
    """One question about each labelled image; `Truth.text` is the class."""

    name: ClassVar[str] = "classification"
    max_new_tokens: ClassVar[int] = 64

    @property
    def protocols(self) -> tuple[Protocol[Truth], ...]:
        rule = (
            "the first line names the class: equal but for case, blanks, hyphens, quotes, the final stop, plural and "
            "British spelling"
        )
        return (Protocol(f"{self.name}/exact", "accuracy", rule, score_classes),)

    def ask(self, record: Record, form: AnswerForm) -> Iterator[tuple[str, Truth]]:
        if record.label is not None:
            yield self.prompt(form), Truth(record.label)

    def prompt(self, form: AnswerForm) -> str:
        """The question, which is the same for all images of a source."""
        return prompts.CLASSIFICATION

    def failures(self, answered: Answered[Truth]) -> Sequence[str]:
        return [] if answered_class(answered) is not None else [OUTSIDE]

    def constant_answers(self, questions: Sequence[Question[Truth]]) -> Sequence[str]:
        ((majority, _),) = Counter(question.truth.text for question in questions).most_common(1)
        return [majority] * len(questions)

    def reference(self, question: Question[Truth]) -> str:
        return question.truth.text

    def panels(self, pairs: Sequence[Answered[Truth]]) -> Sequence[Panel]:
        cells = Counter((pair.question.truth.text, answered_class(pair) or OUTSIDE) for pair in pairs)
        true = sorted({truth for truth, _ in cells})
        said = [*true, *sorted({answer for _, answer in cells} - set(true))]
        counts = [[cells[truth, answer] for answer in said] for truth in true]
        return [MatrixPanel("True classes (rows) and answers (columns)", true, said, counts)]

    def is_wrong(self, answered: Answered[Truth]) -> bool:
        return answered_class(answered) != answered.question.truth.text


class ListedClassification(Classification):
    """The same with the source's classes in the prompt, as zero-shot benchmarks ask."""

    name: ClassVar[str] = "classification-listed"
    built_for: ClassVar[str] = "classification"

    def prompt(self, form: AnswerForm) -> str:
        return prompts.CLASSIFICATION_LISTED.format(categories=", ".join(sorted(form.categories)))


def answered_class(answered: Answered[Truth]) -> str | None:
    """The class that an answer names; None where it names none of the source."""
    question = answered.question
    known = _classes_by_answer((*question.form.categories, question.truth.text))
    return known.get(normalise_answer(answered.answer.text))


@lru_cache(maxsize=4096)
def _classes_by_answer(categories: tuple[str, ...]) -> Mapping[str, str]:
    own = {normalise_answer(category): category for category in categories}
    other = {normalise_answer(name): category for category in categories for name in class_spellings(category)}
    return {name: category for name, category in (other | own).items() if name}


def score_classes(pairs: Sequence[Answered[Truth]]) -> Scores:
    """Top-1 accuracy; in the details recall by class, its mean, and what is taken for what."""
    given = [answered_class(pair) for pair in pairs]
    wanted = [pair.question.truth.text for pair in pairs]
    right = np.array([answer == truth for answer, truth in zip(given, wanted, strict=True)], dtype=np.float64)
    by_class: dict[str, list[float]] = defaultdict(list)
    for truth, hit in zip(wanted, right.tolist(), strict=True):
        by_class[truth].append(hit)
    recall = {truth: float(np.mean(hits)) for truth, hits in sorted(by_class.items())}
    confused = Counter((truth, answer) for truth, answer in zip(wanted, given, strict=True) if truth != answer)
    return Scores.of_sums(
        [pair.question.record.id for pair in pairs],
        np.column_stack([right, np.ones(len(pairs))]),
        ratio,
        {
            "mean_class_accuracy": float(np.mean(list(recall.values()))),
            "recall_by_class": recall,
            "most_confused": [[truth, answer or OUTSIDE, count] for (truth, answer), count in confused.most_common(5)],
        },
    )
