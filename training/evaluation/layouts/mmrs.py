"""Our own layout: `answers.jsonl`, by the ids of questions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from training.evaluation.answers import read_answers
from training.evaluation.layouts.layout import JoinedLayout
from training.evaluation.task import Answer, Question


class OwnLines(JoinedLayout):
    """Lines of `mmrs eval`."""

    name: ClassVar[str] = "mmrs"
    summary: ClassVar[str] = 'lines {"id": "<record id>#<task>", "text"}, as `mmrs eval` writes them'

    def read(self, path: Path, questions: Sequence[Question[Any]]) -> list[Answer]:
        return read_answers(path)
