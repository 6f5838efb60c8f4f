"""Answered questions -> score rows, by task, protocol and source. Pure: no model, no files, no task by name."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmrs.text import table
from training.evaluation.task import Answer, Answered, Protocol, Task
from training.evaluation.tasks import check_protocols, find_protocols, find_task

# How an answer fails whatever the task: by the reason that generation ended.
_ENDINGS = {"length": "cut_off", "missing": "missing"}


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One value and all that it must be read with.

    Args:
        metric: what `value` is, None where it is undefined; `interval_95` is drawn over images.
        failed: answers that could not be read whole; all stay in the denominator.
        failures: the same by reason; one answer can have several.
        constant_value: what the same protocol gives for answers that do not look at the images.
        constant_answers: those answers, with how often each is given.
        details: further numbers of the protocol.
        warning: what the value must not be taken for; empty for most.
    """

    task: str
    protocol: str
    rule: str
    source: str
    metric: str
    value: float | None
    interval_95: tuple[float, float] | None
    images: int
    questions: int
    failed: int
    failures: Mapping[str, int]
    constant_value: float | None
    constant_answers: Mapping[str, int]
    details: Mapping[str, Any]
    warning: str = ""


def score(pairs: Sequence[Answered[Any]], protocols: tuple[str, ...] = ()) -> list[ScoreRow]:
    """A row for each task, protocol and source, sorted by task and source.

    Args:
        protocols: by name; a task of which none is named is scored by its own.

    Raises:
        UserError: a protocol that no task has.
    """
    check_protocols(protocols)
    grouped: dict[tuple[str, str], list[Answered[Any]]] = defaultdict(list)
    for pair in pairs:
        grouped[pair.question.task, pair.question.record.source].append(pair)
    return [
        _row(find_task(name), protocol, source, grouped[name, source])
        for name, source in sorted(grouped)
        for protocol in find_protocols(find_task(name), protocols, source)
    ]


def failures_of(task: Task[Any], pair: Answered[Any]) -> list[str]:
    """Why an answer cannot be read whole; nothing where it can."""
    if pair.answer.finish_reason == "missing":
        return ["missing"]
    ending = [_ENDINGS[pair.answer.finish_reason]] if pair.answer.finish_reason in _ENDINGS else []
    return [*ending, *(["empty"] if not pair.answer.text.strip() else task.failures(pair))]


def describe_rows(rows: Sequence[ScoreRow]) -> str:
    """The rows as a table for a person, warnings below it."""
    header = (
        "task", "source", "protocol", "metric", "value", "95 %", "constant", "images", "questions", "failed", "why"
    )  # fmt: skip
    warnings = dict.fromkeys(f"{row.protocol}: {row.warning}." for row in rows if row.warning)
    return "\n".join([table(header, [_cells(row) for row in rows]), *warnings])


def value_text(value: float | None) -> str:
    """Three decimals, or that there is none."""
    return "undefined" if value is None else f"{value:.3f}"


def _row(task: Task[Any], protocol: Protocol[Any], source: str, pairs: Sequence[Answered[Any]]) -> ScoreRow:
    scores = protocol.score(pairs)
    questions = [pair.question for pair in pairs]
    constant = task.constant_answers(questions)
    blind = [Answered(q, Answer(q.id, text, q.prompt, "stop")) for q, text in zip(questions, constant, strict=True)]
    reasons = [failures_of(task, pair) for pair in pairs]
    return ScoreRow(
        task=task.name,
        protocol=protocol.name,
        rule=protocol.rule,
        source=source,
        metric=protocol.metric,
        value=scores.value,
        interval_95=scores.interval,
        images=len({question.record.id for question in questions}),
        questions=len(questions),
        failed=sum(map(bool, reasons)),
        failures=dict(sorted(Counter(reason for several in reasons for reason in several).items())),
        constant_value=protocol.score(blind).value,
        constant_answers=dict(Counter(constant).most_common(5)),
        details=dict(scores.details),
        warning=protocol.warning,
    )


def _cells(row: ScoreRow) -> tuple[str | int, ...]:
    interval = "" if row.interval_95 is None else "{:.3f} to {:.3f}".format(*row.interval_95)
    why = ", ".join(f"{reason.replace('_', ' ')} {count}" for reason, count in row.failures.items())
    return (
        row.task,
        row.source,
        row.protocol,
        row.metric,
        value_text(row.value),
        interval,
        value_text(row.constant_value),
        row.images,
        row.questions,
        row.failed,
        why,
    )
