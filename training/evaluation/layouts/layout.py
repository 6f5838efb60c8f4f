"""The contract of a layout: how somebody's file of answers is read, with the truth that it carries or beside ours.

A layout of the first kind needs no data set: its file says what was asked, what is true and what was answered. One of
the second kind is joined to the questions of a data set, of which every one counts, answered or not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import orjson

from mmrs.errors import UserError
from mmrs.record import ImageInfo, Record
from training.evaluation.task import Answer, Answered, AnswerForm, Question, Truth
from training.evaluation.translation.exact import EXACT

# Benchmarks of these layouts write boxes on a grid of so many steps an axis.
GRID = 100
_NO_DIGEST = "0" * 64


class AnswerLayout(ABC):
    """What both kinds have."""

    name: ClassVar[str]
    """What `--layout` takes."""
    summary: ClassVar[str]
    """In a sentence, what lines it reads; a table of the documentation prints it."""


class TruthLayout(AnswerLayout):
    """A layout whose files carry their truth."""

    intervals: ClassVar[str]
    """Over what intervals are drawn: such files do not all name their images."""

    @abstractmethod
    def read(self, path: Path) -> list[Answered[Any]]:
        """Every line as a question and its answer. Raises UserError with file and line."""


class JoinedLayout(AnswerLayout):
    """A layout whose files name images or questions of a data set."""

    @abstractmethod
    def read(self, path: Path, questions: Sequence[Question[Any]]) -> list[Answer]:
        """The answers, by the ids of our questions. Raises UserError with file and line."""


def read_answer_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The objects of a file of JSON lines, or of one JSON list, with the number of their line or place, from 1.

    Raises:
        UserError: no such file, or a line that is no JSON object.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    if content.lstrip()[:1] == b"[":
        listed = _parsed(content, f"{path}")
        numbered: Iterator[tuple[int, Any]] = enumerate(listed if isinstance(listed, list) else [listed], start=1)
    else:
        lines = enumerate(content.split(b"\n"), start=1)
        numbered = ((number, _parsed(line, f"{path}, line {number}")) for number, line in lines if line.strip())
    for number, row in numbered:
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: {type(row).__name__} and no object of names and values.")
        yield number, row


def text_of(row: Mapping[str, Any], key: str, where: str) -> str:
    """The text under a key. Raises UserError where there is none."""
    value = row.get(key)
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise UserError(f"{where}: {key!r} is {value!r}; this layout has a text there.")
    return str(value)


def made_question(
    task: str, source: str, image: str, number: int, prompt: str, truth: Truth, categories: Sequence[str] = ()
) -> Question[Any]:
    """A question about an image that is not at hand: a square of the grid in which boxes are written.

    Args:
        image: names the image; questions of one image are drawn together.
        number: of the line, which makes the id.
    """
    record = Record(
        id=f"{source}/test/{image}",
        source=source,
        split="test",
        sensor="optical",
        image=ImageInfo(width=GRID, height=GRID, mode="RGB", sha256=_NO_DIGEST),
        licence="unknown",
    )
    form = AnswerForm(tuple(categories), EXACT)
    return Question(f"{record.id}#{task}-{number}", task, prompt, truth, record, form, {})


def source_of(path: Path) -> str:
    """What a file without a data set is called in the scores: its name in small letters, ``rsvqa-lr`` for instance."""
    return path.stem.lower().replace("_", "-").replace(" ", "-")


def _parsed(content: bytes, where: str) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise UserError(f"{where}: no JSON ({error}).") from error
