"""What is asked of a split: every task's questions about every image, from records, not from their rendered text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from mmrs.errors import RunFailure, UserError
from mmrs.imaging.probe import open_stored
from mmrs.instructions.dialects import dialect
from mmrs.shards.reader import ShardSet
from mmrs.text import see_verify
from training.evaluation.task import AnswerForm, Question
from training.evaluation.tasks import find_task, task_names


@dataclass(frozen=True, slots=True)
class QuestionScope:
    """Which questions are asked.

    Args:
        sources: None for all that have the split.
        tasks: of the registry; none named: all that the sources were built for, under their own names.
        limit: number of images of each source, the first in shard order, which is a seeded permutation; None for all.
        dialect: how boxes are written in the answers; empty: as in the data set.
    """

    split: str = "test"
    sources: tuple[str, ...] | None = None
    tasks: tuple[str, ...] = ()
    limit: int | None = None
    dialect: str = ""


def load_questions(data: ShardSet, scope: QuestionScope) -> list[Question[Any]]:
    """The questions of a split, by image in shard order, then by task.

    Raises:
        UserError: no such split, source or dialect, a task without a scorer, or no image that a task asks about.
    """
    named = [find_task(name) for name in scope.tasks or task_names()]
    tasks = [task for task in named if scope.tasks or not task.built_for]
    written = dialect(scope.dialect or data.manifest.dialect_name)
    forms = {name: AnswerForm(source.categories, written) for name, source in data.manifest.sources.items()}
    questions: list[Question[Any]] = []
    taken = dict.fromkeys(forms, 0)
    for row in data.table(scope.split, scope.sources).to_pylist():
        source = data.manifest.shards[row["shard"]].source
        offered = [task for task in tasks if (task.built_for or task.name) in data.manifest.sources[source].tasks]
        if not offered or taken[source] == scope.limit:
            continue
        record = data.record(row)
        found = [
            Question(_name(record.id, task.name, number), task.name, prompt, truth, record, forms[source], row)
            for task in offered
            for number, (prompt, truth) in enumerate(task.ask(record, forms[source]))
        ]
        taken[source] += bool(found)
        questions += found
    _check_asked(data, scope, questions)
    return questions


def question_image(data: ShardSet, question: Question[Any]) -> Image.Image:
    """The question's image, decoded.

    Raises:
        RunFailure: it cannot be, or is beyond the bounds of `mmrs.imaging.limits`.
    """
    content = data.image(dict(question.row))
    try:
        with open_stored(content) as image:
            image.load()
            return image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RunFailure(
            f"image of {question.record.id} cannot be decoded: {error}. {see_verify(data.location)}"
        ) from error


def _name(record_id: str, task: str, number: int) -> str:
    return f"{record_id}#{task}-{number}" if number else f"{record_id}#{task}"


def _check_asked(data: ShardSet, scope: QuestionScope, questions: Sequence[Question[Any]]) -> None:
    asked = {question.task for question in questions}
    unasked = [name for name in scope.tasks if name not in asked]
    if unasked or not asked:
        built = sorted({name for source in data.manifest.sources.values() for name in source.tasks})
        raise UserError(
            f"split {scope.split!r} of {data.location} has no image to ask about for "
            f"{' or '.join(unasked or task_names())}; its sources were built for {', '.join(built)}."
        )
