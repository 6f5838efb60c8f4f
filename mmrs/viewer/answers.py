"""Answers of a model to questions about the images, as whoever can score them hands them to the viewer.

The data core knows no task and no score: `training.commands.view` reads `answers.jsonl`, scores every answer and draws
what it says in pixels; here they are found again by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from mmrs.record import Quad

NONE = "none"


@dataclass(frozen=True)
class ShownAnswer:
    """An answer beside what is true.

    Args:
        task: that was asked.
        prompt, text, truth: the question, the answer, and what is true, in words.
        score: how right it is, 0 to 1.
        failures: why it could not be read whole; nothing where it could.
        truth_quads, answer_quads: outlines in pixels of the stored image.
    """

    task: str
    prompt: str
    text: str
    truth: str
    score: float
    failures: tuple[str, ...]
    truth_quads: tuple[Quad, ...] = ()
    answer_quads: tuple[Quad, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For the page."""
        return {
            "task": self.task,
            "prompt": self.prompt,
            "text": self.text,
            "truth": self.truth,
            "score": self.score,
            "failures": self.failures,
            "truth_quads": self.truth_quads,
            "answer_quads": self.answer_quads,
        }


@dataclass(frozen=True)
class AnswerTable:
    """Answers by the row of their image."""

    of_row: dict[int, list[ShownAnswer]]

    @cached_property
    def failure_counts(self) -> dict[str, int]:
        """Answers that failed, by reason."""
        counts: dict[str, int] = {}
        for answers in self.of_row.values():
            for reason in (reason for answer in answers for reason in answer.failures):
                counts[reason] = counts.get(reason, 0) + 1
        return dict(sorted(counts.items()))

    def rows_with(self, failures: Sequence[str], score_from: float | None, score_to: float | None) -> list[int]:
        """Rows that have an answer with one of the failures (``any``, ``none``) and a score in the range."""
        return [
            row
            for row, answers in self.of_row.items()
            if any(_fails(answer, failures) and _scores(answer, score_from, score_to) for answer in answers)
        ]

    def scores(self, total: int) -> npt.NDArray[np.float64]:
        """``(total,)``: the mean score of each row; nan where it has no answer."""
        found = np.full(total, np.nan)
        for row, answers in self.of_row.items():
            found[row] = sum(answer.score for answer in answers) / len(answers)
        return found


def _fails(answer: ShownAnswer, wanted: Sequence[str]) -> bool:
    if not wanted:
        return True
    if not answer.failures:
        return NONE in wanted
    return "any" in wanted or bool(set(wanted) & set(answer.failures))


def _scores(answer: ShownAnswer, least: float | None, most: float | None) -> bool:
    return (least is None or answer.score >= least) and (most is None or answer.score <= most)
