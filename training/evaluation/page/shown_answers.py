"""The answers of a file as `mmrs view` shows them: scored one by one, their outlines in pixels of the stored image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from mmrs.errors import UserError
from mmrs.geometry import as_quads
from mmrs.record import Quad
from mmrs.shards.reader import ShardSet
from mmrs.viewer.answers import ShownAnswer
from training.evaluation.answers import answered, read_answers
from training.evaluation.questions import QuestionScope, following_questions, load_questions
from training.evaluation.scores import failures_of
from training.evaluation.task import Answer, Answered, Question
from training.evaluation.tasks import find_task, task_names

_MOST_QUADS = 2000


@dataclass(frozen=True, slots=True)
class QuadCanvas:
    """A `Canvas` that keeps what is drawn on it."""

    truth: list[Quad] = field(default_factory=list)
    answer: list[Quad] = field(default_factory=list)

    def outline_truth(self, quads: npt.ArrayLike) -> None:
        self.truth.extend(as_quads(quads).round(1).tolist())

    def outline_answer(self, quads: npt.ArrayLike) -> None:
        self.answer.extend(as_quads(quads).round(1).tolist())


def shown_answers(location: Path | str, path: Path, dialect: str = "") -> dict[str, list[ShownAnswer]]:
    """By the id of their record. Questions without an answer are left out: `mmrs score` counts them.

    Raises:
        UserError: no such file, a line that is no answer, or no answer to a question about the data set.
    """
    answers = read_answers(path)
    data = ShardSet(location)
    found: dict[str, list[ShownAnswer]] = defaultdict(list)
    for (source, split), own in _by_part(answers, data).items():
        tasks = tuple(sorted({_task(answer.id) for answer in own} & set(task_names())))
        scope = QuestionScope(split, (source,), tasks, dialect=dialect)
        for pair in _pairs(data, scope, own):
            found[pair.question.record.id].append(_shown(pair))
    data.close()
    if not found:
        first = answers[0].id if answers else "(none)"
        raise UserError(
            f"{path} has no answer to a question about {location}: its first is {first!r}. An id is like "
            "hit-uav/test/0_60_30#detection-hbb."
        )
    return dict(found)


def _by_part(answers: Sequence[Answer], data: ShardSet) -> dict[tuple[str, str], list[Answer]]:
    known = set(data.parts)
    parts: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    for answer in answers:
        source, _, rest = answer.id.partition("/")
        split = rest.partition("/")[0]
        if f"{source}/{split}" in known and _task(answer.id) in task_names():
            parts[source, split].append(answer)
    return parts


def _task(question: str) -> str:
    """``a/test/1#vqa-3`` -> ``vqa``."""
    name = question.rpartition("#")[2]
    return name if name in task_names() else name.rpartition("-")[0]


def _pairs(data: ShardSet, scope: QuestionScope, answers: Sequence[Answer]) -> list[Answered[Any]]:
    questions: list[Question[Any]] = load_questions(data, scope)
    questions += following_questions(scope, questions, answers)
    said = {answer.id for answer in answers}
    asked = [question for question in questions if question.id in said]
    return answered(asked, answers)[0] if asked else []


def _shown(pair: Answered[Any]) -> ShownAnswer:
    task, canvas = find_task(pair.question.task), QuadCanvas()
    task.draw(canvas, pair)
    return ShownAnswer(
        task=task.name,
        prompt=pair.question.prompt,
        text=pair.answer.said or pair.answer.text,
        truth=pair.question.truth.text,
        score=float(task.quality(pair)),
        failures=tuple(failures_of(task, pair)),
        truth_quads=tuple(canvas.truth[:_MOST_QUADS]),
        answer_quads=tuple(canvas.answer[:_MOST_QUADS]),
    )
