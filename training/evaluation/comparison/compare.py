"""Two runs on the same questions side by side: paired differences with intervals, and the answers that differ.

A difference is drawn over the images of both runs at once: an image that both find hard makes neither better. Its
interval is narrower than those of the two values let expect, and one that holds 0 is no difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from mmrs.errors import UserError
from mmrs.shards.reader import ShardSet
from mmrs.storage.atomic import check_own
from mmrs.text import PAGE_MARK, table
from training.evaluation.answers import ANSWERS_NAME, answered, read_answers
from training.evaluation.comparison.page import Difference, write_comparison
from training.evaluation.metrics.intervals import bootstrap_interval
from training.evaluation.questions import QuestionScope, following_questions, load_questions
from training.evaluation.scores import value_text
from training.evaluation.task import Answered, ImageSums, Question
from training.evaluation.tasks import find_protocols, find_task


@dataclass(frozen=True, slots=True)
class ComparisonResult:
    """The rows, and the page."""

    rows: tuple[Difference, ...]
    page_path: Path


@dataclass(frozen=True, slots=True)
class _Run:
    """The folder of an evaluation: its questions' scope, the protocols of its rows, what it says of itself."""

    folder: Path
    data_set: str
    scope: dict[str, Any]
    protocols: tuple[str, ...]
    answers: Path


def compare(first: Path, second: Path, location: Path | str, out: Path) -> ComparisonResult:
    """Compare the runs in two folders of `mmrs eval` or `mmrs score` and write a page.

    Args:
        first, second: folders with a ``scores.json``.
        location: the data set that both answered about, a folder or a URL.
        out: the HTML file.

    Raises:
        UserError: no such runs, runs of different questions, or a data set that neither was scored on.
    """
    check_own(out, PAGE_MARK.encode())
    runs = [_read_run(folder) for folder in (first, second)]
    data = ShardSet(location)
    _check_same(runs[0], runs[1], data)
    scope = _scope(runs[0])
    questions = load_questions(data, scope)
    sides = [_pairs(scope, questions, run) for run in runs]
    protocols = tuple(dict.fromkeys([*runs[0].protocols, *runs[1].protocols]))
    rows = _differences(sides[0], sides[1], protocols)
    names = (_name(runs[0], runs[1]), _name(runs[1], runs[0]))
    write_comparison(out, data, names, rows, list(zip(*sides, strict=True)))
    return ComparisonResult(tuple(rows), out)


def describe_comparison(result: ComparisonResult) -> str:
    """The rows as a table, and the page."""
    header = ("task", "source", "protocol", "metric", "first", "second", "second - first", "95 %")
    cells = [
        (
            row.task,
            row.source,
            row.protocol,
            row.metric,
            value_text(row.first),
            value_text(row.second),
            "undefined" if row.difference is None else f"{row.difference:+.3f}",
            _interval_text(row),
        )
        for row in result.rows
    ]
    return f"{table(header, cells)}\npage to look at: {result.page_path}"


def _interval_text(row: Difference) -> str:
    return (
        "not drawn: no function of sums" if row.interval_95 is None else "{:+.3f} to {:+.3f}".format(*row.interval_95)
    )


def _differences(
    first: Sequence[Answered[Any]], second: Sequence[Answered[Any]], protocols: tuple[str, ...]
) -> list[Difference]:
    grouped: dict[tuple[str, str], list[int]] = {}
    for place, pair in enumerate(first):
        grouped.setdefault((pair.question.task, pair.question.record.source), []).append(place)
    rows = []
    for name, source in sorted(grouped):
        places = grouped[name, source]
        for protocol in find_protocols(find_task(name), protocols, source):
            one, other = (protocol.score([side[place] for place in places]) for side in (first, second))
            undefined = one.value is None or other.value is None
            rows.append(
                Difference(
                    task=name,
                    source=source,
                    protocol=protocol.name,
                    metric=protocol.metric,
                    first=one.value,
                    second=other.value,
                    difference=None if undefined else other.value - one.value,  # type: ignore[operator]
                    interval_95=_paired(one.sums, other.sums),
                )
            )
    return rows


def _pairs(scope: QuestionScope, questions: Sequence[Question[Any]], run: _Run) -> list[Answered[Any]]:
    answers = read_answers(run.answers)
    return answered([*questions, *following_questions(scope, questions, answers)], answers)[0]


def _paired(first: ImageSums | None, second: ImageSums | None) -> tuple[float, float] | None:
    """Interval of the second score less the first when the images of both are drawn together."""
    if first is None or second is None or first.images != second.images:
        return None
    width = first.rows.shape[1]

    def difference(rows: np.ndarray) -> float | None:
        one, other = first.score(rows[:, :width]), second.score(rows[:, width:])
        return None if one is None or other is None else other - one

    return bootstrap_interval(np.hstack([first.rows, second.rows]), difference)


def _read_run(folder: Path) -> _Run:
    path = folder / "scores.json"
    try:
        content = orjson.loads(path.read_bytes())
        protocols = tuple(str(row["protocol"]) for row in content["rows"])
        answers = Path(str(content.get("answers", folder / ANSWERS_NAME)))
        return _Run(folder, str(content["data_set"]), dict(content["scope"]), protocols, answers)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is no scores.json of `mmrs eval` ({type(error).__name__} {error}); name a folder that --out named."
        ) from error


def _check_same(first: _Run, second: _Run, data: ShardSet) -> None:
    for run in (first, second):
        if run.data_set != data.manifest.id:
            raise UserError(
                f"{run.folder} was scored on data set {run.data_set[:16]}, {data.location} is {data.manifest.id[:16]}; "
                "name the data set that both were scored on."
            )
    for name in first.scope.keys() | second.scope.keys():
        if first.scope.get(name) != second.scope.get(name):
            raise UserError(
                f"{first.folder} and {second.folder} answer different questions: {name} is {first.scope.get(name)!r} "
                f"and {second.scope.get(name)!r}. Score both with the same --split, --source and --task."
            )


def _scope(run: _Run) -> QuestionScope:
    try:
        sources = run.scope["sources"]
        return QuestionScope(
            split=str(run.scope["split"]),
            sources=None if sources is None else tuple(map(str, sources)),
            tasks=tuple(map(str, run.scope["tasks"])),
            limit=run.scope["limit"],
            dialect=str(run.scope["dialect"]),
        )
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{run.folder / 'scores.json'} has no whole scope: {error}. Score its answers again."
        ) from error


def _name(run: _Run, other: _Run) -> str:
    """The folder's own name, its whole path where both have the same."""
    return run.folder.name if run.folder.name != other.folder.name else str(run.folder)
