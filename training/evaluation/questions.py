"""What is asked of a split: every task's questions about every image, from records, not from their rendered text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from mmrs.errors import RunFailure, UserError
from mmrs.imaging.probe import open_stored
from mmrs.instructions.dialects import dialect
from mmrs.shards.reader import ShardSet
from mmrs.text import see_verify
from training.evaluation.task import Answer, Answered, AnswerForm, Question
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
    """The questions of a split, by image in shard order, then by task; `following_questions` come after their answers.

    Raises:
        UserError: no such split, source or dialect, a task without a scorer, or no image that a task asks about.
    """
    named = [find_task(name) for name in scope.tasks or task_names()]
    wanted = dict.fromkeys(task.follows or task.name for task in named if scope.tasks or not task.built_for)
    tasks = [find_task(name) for name in wanted]
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


def following_questions(
    scope: QuestionScope, questions: Sequence[Question[Any]], answers: Iterable[Answer]
) -> list[Question[Any]]:
    """The questions about answers, of the tasks of the scope that follow another: one for each question of that.

    Those without a prompt are not asked: the answer that they would be about cannot be read.
    """
    following = [task for task in map(find_task, scope.tasks) if task.follows]
    by_id = {answer.id: answer for answer in answers}
    found = []
    for task in following:
        for question in (question for question in questions if question.task == task.follows):
            said = by_id.get(question.id) or Answer(question.id, "", question.prompt, "missing")
            prompt, truth = task.ask_about(Answered(question, said))
            number = question.id.removeprefix(f"{question.record.id}#{question.task}")
            name = f"{question.record.id}#{task.name}{number}"
            found.append(replace(question, id=name, task=task.name, prompt=prompt, truth=truth))
    return found


def asks_again(scope: QuestionScope) -> bool:
    """Whether a task of the scope asks about the answers of another."""
    return any(find_task(name).follows for name in scope.tasks)


def asked(questions: Sequence[Question[Any]]) -> list[Question[Any]]:
    """The questions that are put to a model: those with a prompt."""
    return [question for question in questions if question.prompt]


def question_image(data: ShardSet, question: Question[Any]) -> Image.Image:
    """The question's image, decoded; of several the first, which boxes are of.

    Raises:
        RunFailure: it cannot be, or is beyond the bounds of `mmrs.imaging.limits`.
    """
    return _decoded(data, question, data.image(dict(question.row)))


def question_images(data: ShardSet, question: Question[Any]) -> list[Image.Image]:
    """All images that the question is about, in the order in which a model sees them. Raises as `question_image`."""
    return [_decoded(data, question, content) for content in data.images(dict(question.row))]


def _decoded(data: ShardSet, question: Question[Any], content: bytes) -> Image.Image:
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
    unasked = [name for name in scope.tasks if (find_task(name).follows or name) not in asked]
    if unasked or not asked:
        built = sorted({name for source in data.manifest.sources.values() for name in source.tasks})
        raise UserError(
            f"split {scope.split!r} of {data.location} has no image to ask about for "
            f"{' or '.join(unasked or task_names())}; its sources were built for {', '.join(built)}."
        )
