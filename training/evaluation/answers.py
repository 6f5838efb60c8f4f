"""`answers.jsonl`: what was said, one line for each question, before anything is made of it.

    {"id": "hit-uav/test/0_60_30#detection-hbb", "prompt": "...", "text": "There is ...", "finish_reason": "stop"}

Other people's answers need `id` and `text` alone. Lines may come in any order; a question without one is a failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from mmrs.errors import UserError
from mmrs.storage.atomic import write_atomic
from training.evaluation.task import Answer, Answered, Question

ANSWERS_NAME = "answers.jsonl"
_LINE = TypeAdapter(Answer)


def parse_answer(line: bytes) -> Answer:
    """One line. Raises `pydantic.ValidationError`."""
    return _LINE.validate_json(line)


def write_answers(path: Path, answers: Sequence[Answer]) -> None:
    """Write the lines, all or nothing."""
    write_atomic(path, b"".join(orjson.dumps(asdict(answer)) + b"\n" for answer in answers))


def read_answers(path: Path) -> list[Answer]:
    """Read the lines; keys that are none of ours are left out.

    Raises:
        UserError: no such file, a line that is no answer, or two answers to one question.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. `mmrs eval` writes {ANSWERS_NAME}.") from error
    answers: dict[str, Answer] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            answer = parse_answer(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "line"
            raise UserError(
                f'{path}, line {number}: {where}: {first["msg"]}. A line is like {{"id": "...", "text": "..."}}.'
            ) from error
        if answer.id in answers:
            raise UserError(f"{path}, line {number}: a second answer to {answer.id}; keep one of them.")
        answers[answer.id] = answer
    return list(answers.values())


def answered(questions: Sequence[Question[Any]], answers: Sequence[Answer]) -> tuple[list[Answered[Any]], int]:
    """Each question with its answer, and how many answers are to none of the questions.

    A question that nobody answered gets an empty answer whose `finish_reason` is ``missing``.

    Raises:
        UserError: not one answer is to one of the questions.
    """
    by_id = {answer.id: answer for answer in answers}
    pairs = [
        Answered(question, by_id.get(question.id) or Answer(question.id, "", question.prompt, "missing"))
        for question in questions
    ]
    unused = len(by_id.keys() - {question.id for question in questions})
    if by_id and unused == len(by_id):
        raise UserError(
            f"no answer is to a question that is asked: the first answer has the id {next(iter(by_id))!r}, the first "
            f"question {questions[0].id!r}. Name the split and the tasks that were answered."
        )
    return pairs, unused
