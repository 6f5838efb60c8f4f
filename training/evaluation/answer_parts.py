"""Answers as they come: files that only grow, one for each process, from which an evaluation goes on after any stop.

OUT/answers.begun.json      what is answered by whom, and how: parts of another evaluation are never taken over
OUT/answers.part-0.jsonl    lines of `answers.jsonl` in the order of the batches, each batch written at once
OUT/answers.jsonl           all of them, in the order of the questions; it takes the place of the parts
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from mmrs.errors import UserError
from mmrs.storage.atomic import write_atomic
from mmrs.storage.plain_files import open_no_link
from training.evaluation.answers import ANSWERS_NAME, parse_answer, read_answers, write_answers
from training.evaluation.task import Answer, Question

_BEGUN_NAME = "answers.begun.json"
_PART = re.compile(r"answers\.part-\d+\.jsonl")


@dataclass(frozen=True, slots=True)
class AnswerFolder:
    """The folder of one evaluation."""

    folder: Path

    def begin(self, identity: dict[str, Any]) -> None:
        """Say whose answers the folder is for, or check that it says so already.

        Raises:
            UserError: the folder holds answers of another model, other questions, or other settings.
        """
        path = self.folder / _BEGUN_NAME
        content = orjson.dumps(identity, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
        self.folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            if (self.folder / ANSWERS_NAME).exists() or self._parts():
                raise UserError(
                    f"{self.folder} holds answers, but no {_BEGUN_NAME} that says whose; choose another --out."
                )
            write_atomic(path, content)
            return
        begun = _read_identity(path)
        differing = sorted(name for name in identity.keys() | begun.keys() if identity.get(name) != begun.get(name))
        if differing:
            name = differing[0]
            raise UserError(
                f"{self.folder} holds answers of another evaluation: {name} was {begun.get(name)!r} and is now "
                f"{identity.get(name)!r}. Choose another --out, or remove the folder to answer again."
            )

    def answered(self) -> dict[str, Answer]:
        """All answers there are, by the id of their question. A line that was cut by a stop is none."""
        while True:
            whole = self.folder / ANSWERS_NAME
            found = {answer.id: answer for answer in read_answers(whole)} if whole.exists() else {}
            try:
                for part in self._parts():
                    lines = part.read_bytes().split(b"\n")[:-1]
                    found |= {answer.id: answer for answer in map(_parse, lines) if answer is not None}
            except FileNotFoundError:
                # Another process has just put all parts together: they are in the whole file now.
                continue
            return found

    def lines(self) -> int:
        """How many lines there are, answers that stand twice included: cheap enough for a watcher, as none is read."""
        whole = self.folder / ANSWERS_NAME
        return sum(path.read_bytes().count(b"\n") for path in (*self._parts(), *([whole] if whole.exists() else [])))

    def append(self, rank: int, answers: Sequence[Answer]) -> None:
        """Add the answers of a batch to the part of a process, on the disk before the return."""
        path = self.folder / f"answers.part-{rank}.jsonl"
        with open(open_no_link(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), "ab") as file:
            # What a stop cut off becomes a line of its own, which is no answer.
            start = b"\n" if file.tell() and not _ends_with_newline(path) else b""
            file.write(start + b"".join(orjson.dumps(asdict(answer)) + b"\n" for answer in answers))
            file.flush()
            os.fsync(file.fileno())

    def finish(self, questions: Sequence[Question[Any]]) -> list[Answer]:
        """Write `answers.jsonl` in the order of the questions, all of which are answered, and remove the parts."""
        found = self.answered()
        answers = [found[question.id] for question in questions]
        write_answers(self.folder / ANSWERS_NAME, answers)
        for part in self._parts():
            part.unlink()
        return answers

    def _parts(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("answers.part-*.jsonl") if _PART.fullmatch(path.name))


def _read_identity(path: Path) -> dict[str, Any]:
    try:
        content = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise UserError(f"{path} is damaged: {error}. Choose another --out, or remove its folder.") from error
    if not isinstance(content, dict):
        raise UserError(
            f"{path} is damaged: no object of names and values. Choose another --out, or remove its folder."
        )
    return content


def _parse(line: bytes) -> Answer | None:
    try:
        return parse_answer(line)
    except ValidationError:
        return None


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
