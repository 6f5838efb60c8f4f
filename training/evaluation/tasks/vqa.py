"""Questions about images by type: RSVQA as its authors score it, without counts as most tables have it, and all others.

A protocol says of each type which rule reads the answers (`training.evaluation.tasks.vqa_rules`). Tables of RSVQA
differ in what they count: all four types or without numbers, right answers over all questions (OA) or the mean of the
types' accuracies (AA). Each is a protocol of its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np

from mmrs.geometry import Array
from mmrs.instructions import prompts
from mmrs.record import Record
from training.evaluation.task import Answered, AnswerForm, Protocol, Question, Scores, Task, Truth
from training.evaluation.tasks.vqa_rules import (
    RSVQA_HR,
    RSVQA_LR,
    TEXT,
    AnswerKind,
    kind_of_truth,
    read_answer,
    right_readings,
)

NO_TYPE = "all"
_RSVQA = ("rsvqa",)
_RSVQA_HR = "rsvqa-hr"
_THREE_TYPES = ("comp", "presence", "rural_urban")
_EARLIER = 3


@dataclass(frozen=True)
class TrueAnswer(Truth):
    """`Truth.text` is the source's answer; `type` its word for the kind of question."""

    type: str


AnsweredQuestions = Sequence[Answered[TrueAnswer]]


class VisualQuestions(Task[TrueAnswer]):
    """Each question of an image, in the source's order."""

    name: ClassVar[str] = "vqa"
    max_new_tokens: ClassVar[int] = 16

    @property
    def protocols(self) -> tuple[Protocol[TrueAnswer], ...]:
        return (
            Protocol(
                "rsvqa/authors",
                "accuracy",
                "right answers of all types over all questions; low-resolution counts and high-resolution areas in the "
                "authors' bins, high-resolution counts exact",
                partial(_score, overall=_overall_accuracy),
                sources=_RSVQA,
            ),
            Protocol(
                "rsvqa/three-types-oa",
                "accuracy",
                "right answers over the questions of the types comp, presence and rural_urban (there are no others "
                "without numbers); counts and areas left out",
                partial(_score, overall=_overall_accuracy, types=_THREE_TYPES),
                sources=_RSVQA,
            ),
            Protocol(
                "rsvqa/three-types-aa",
                "mean accuracy of types",
                "mean of the accuracies of the types comp, presence and rural_urban; counts and areas left out",
                partial(_score, overall=_mean_accuracy, types=_THREE_TYPES),
                sources=_RSVQA,
            ),
            Protocol(
                "vqa/by-type",
                "accuracy",
                "right answers over all questions: yes or no by the first word, numbers by the first number in digits "
                "or words, the rest equal but for case, blanks, plural and British spelling",
                partial(_score, overall=_overall_accuracy, by_truth=True),
            ),
        )

    def ask(self, record: Record, form: AnswerForm) -> Iterator[tuple[str, TrueAnswer]]:
        for item in record.questions:
            verbatim = item.type == prompts.VERBATIM
            prompt = item.question if verbatim else prompts.VQA.format(question=item.question)
            yield prompt, TrueAnswer(item.answer, NO_TYPE if verbatim else item.type or NO_TYPE)

    def failures(self, answered: Answered[TrueAnswer]) -> Sequence[str]:
        kind = _kind(answered.question)
        return [] if read_answer(kind, answered.answer.text) is not None else [kind.unread]

    def constant_answers(self, questions: Sequence[Question[TrueAnswer]]) -> Sequence[str]:
        """The answer that is right most often among the questions of a type."""
        counts: dict[str, Counter[frozenset]] = defaultdict(Counter)
        text_of: dict[frozenset, str] = {}
        for question in questions:
            readings, text = right_readings(_kind(question), question.truth.text), question.truth.text
            counts[question.truth.type][readings] += 1
            text_of[readings] = min(text_of.get(readings, text), text)
        usual = {
            name: text_of[min(several, key=lambda readings: (-several[readings], text_of[readings]))]
            for name, several in counts.items()
        }
        return [usual[question.truth.type] for question in questions]

    def reference(self, question: Question[TrueAnswer]) -> str:
        return question.truth.text

    def is_wrong(self, answered: Answered[TrueAnswer]) -> bool:
        return not _is_right(answered, _kind(answered.question))


class QuestionsInDialogue(VisualQuestions):
    """The same questions as later turns of a dialogue: what an earlier turn costs is the difference to the task `vqa`.

    Before each question stand the `_EARLIER` ones before it about the image, with their right answers; before the first
    ones the last. Questions that are the same in words are left out, as their answers would be given away.
    """

    name: ClassVar[str] = "vqa-dialogue"
    built_for: ClassVar[str] = "vqa"

    @property
    def protocols(self) -> tuple[Protocol[TrueAnswer], ...]:
        single = {protocol.name: protocol for protocol in super().protocols}
        return tuple(
            replace(single[name], name=f"vqa-dialogue/{rule}")
            for name, rule in (("rsvqa/authors", "rsvqa-authors"), ("vqa/by-type", "by-type"))
        )

    def earlier_turns(self, question: Question[TrueAnswer]) -> Sequence[tuple[str, str]]:
        turns = [(prompt, truth.text) for prompt, truth in self.ask(question.record, question.form)]
        place = turns.index((question.prompt, question.truth.text))
        others = [turn for turn in (*turns[place + 1 :], *turns[:place]) if turn[0] != question.prompt]
        return others[-_EARLIER:]


def _kind(question: Question[TrueAnswer], by_truth: bool = False) -> AnswerKind:
    """How answers to the question are read: by its type where the source is RSVQA, else by its right answer."""
    source, truth = question.record.source, question.truth
    if by_truth or not source.startswith(_RSVQA):
        return kind_of_truth(truth.text)
    kinds = RSVQA_HR if source.startswith(_RSVQA_HR) else RSVQA_LR
    return kinds.get(truth.type) or kind_of_truth(truth.text)


def _is_right(answered: Answered[TrueAnswer], kind: AnswerKind) -> bool:
    return read_answer(kind, answered.answer.text) in right_readings(kind, answered.question.truth.text)


def _score(
    pairs: AnsweredQuestions,
    overall: Callable[[Array], float | None],
    types: tuple[str, ...] = (),
    by_truth: bool = False,
) -> Scores:
    """Accuracy by type, and what `overall` makes of ``(N, 2 * types)`` right answers and questions of each type."""
    scored = [pair for pair in pairs if not types or pair.question.truth.type in types]
    if not scored:
        return Scores(None, None, {"questions_scored": 0})
    names = sorted({pair.question.truth.type for pair in scored})
    column = {name: 2 * place for place, name in enumerate(names)}
    kinds = [_kind(pair.question, by_truth) for pair in scored]
    right = np.fromiter((_is_right(pair, kind) for pair, kind in zip(scored, kinds, strict=True)), bool, len(scored))
    columns = np.fromiter((column[pair.question.truth.type] for pair in scored), np.int64, len(scored))
    rows = np.zeros((len(scored), 2 * len(names)))
    rows[np.arange(len(scored)), columns] = right
    rows[np.arange(len(scored)), columns + 1] = 1
    sums = rows.sum(axis=0, keepdims=True)
    return Scores.of_sums(
        [pair.question.record.id for pair in scored],
        rows,
        overall,
        {
            "overall_accuracy": _overall_accuracy(sums),
            "mean_accuracy_of_types": _mean_accuracy(sums),
            "accuracy_by_type": {name: float(sums[0, at] / sums[0, at + 1]) for name, at in column.items()},
            "questions_by_type": {name: int(sums[0, at + 1]) for name, at in column.items()},
            "rules_by_type": _rules(scored, kinds),
            "texts_outside_label_set": _outside(scored, kinds),
            "questions_scored": len(scored),
        },
    )


def _overall_accuracy(rows: Array) -> float | None:
    right, of = rows[:, 0::2].sum(), rows[:, 1::2].sum()
    return float(right / of) if of else None


def _mean_accuracy(rows: Array) -> float | None:
    """Plain mean over the types that there are questions of."""
    right, of = rows.sum(axis=0)[0::2], rows.sum(axis=0)[1::2]
    return float(np.mean(right[of > 0] / of[of > 0])) if of.any() else None


def _outside(pairs: AnsweredQuestions, kinds: Sequence[AnswerKind]) -> int:
    """Answers in free text that are the right answer to no question of their type."""
    texts = [(pair.question.truth, pair.answer.text) for pair, kind in zip(pairs, kinds, strict=True) if kind is TEXT]
    labels = {(truth.type, reading) for truth, _ in texts for reading in right_readings(TEXT, truth.text)}
    return sum((truth.type, read_answer(TEXT, said)) not in labels for truth, said in texts)


def _rules(pairs: AnsweredQuestions, kinds: Sequence[AnswerKind]) -> Mapping[str, str]:
    """Which kinds of answer each type's questions had."""
    found: dict[str, set[str]] = defaultdict(set)
    for pair, kind in zip(pairs, kinds, strict=True):
        found[pair.question.truth.type].add(kind.name)
    return {name: ", ".join(sorted(several)) for name, several in sorted(found.items())}
