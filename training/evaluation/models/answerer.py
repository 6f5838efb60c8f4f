"""The contract of a model that answers: which questions form a batch, and the answers to one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from training.evaluation.adapters.adapter import Adapter
from training.evaluation.generate import PlannedBatch, span_log_probabilities
from training.evaluation.task import Answer, FinishReason, Question
from training.evaluation.tasks import find_task


class Answerer(Protocol):
    """A model in memory, with what it needs to see images."""

    def plan(self, questions: Sequence[Question[Any]]) -> list[PlannedBatch]:
        """Every question in one batch; a function of the questions and the batch size alone."""
        ...

    def answer(self, batch: PlannedBatch) -> list[Answer]:
        """The answers to the questions of a batch, in their order."""
        ...


def turns(adapter: Adapter, question: Question[Any]) -> list[tuple[str, str]]:
    """Role and text of each turn up to the question, the user's first; the image belongs to that one."""
    earlier = find_task(question.task).earlier_turns(question)
    before = [turn for asked, said in earlier for turn in (("user", asked), ("assistant", said))]
    return [*before, ("user", adapter.prompt(question))]


def adapted_answer(
    adapter: Adapter,
    question: Question[Any],
    said: str,
    finish_reason: FinishReason,
    tokens: tuple[Sequence[str], Sequence[float]] | None,
) -> Answer:
    """What another model said, as an answer of ours.

    Args:
        tokens: the text of each token of `said` and its log-probability; None where the model does not tell.
    """
    translated = adapter.read(question, said)
    sure = None
    if tokens is not None:
        sure = span_log_probabilities(translated.spans or (), *tokens)
    return Answer(
        question.id,
        translated.text,
        adapter.prompt(question),
        finish_reason,
        sure,
        said if said != translated.text else None,
    )
