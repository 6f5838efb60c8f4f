"""A suite on the data that is there: each benchmark's value beside published ones, and what leaked into training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from mmrs.curation.leaks import Leaks, find_leaks
from mmrs.errors import UserError
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from mmrs.storage.atomic import replace_own
from mmrs.text import table
from training.evaluation.answers import answered, read_answers
from training.evaluation.questions import QuestionScope, following_questions, load_questions
from training.evaluation.score_file import EvaluationResult
from training.evaluation.scores import ScoreRow, score
from training.evaluation.suites.suite import Benchmark, Suite
from training.evaluation.tasks import find_task

# Scores the questions of a scope by protocols into a folder.
Evaluate = Callable[[QuestionScope, tuple[str, ...], Path], EvaluationResult | None]


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a model was trained on, as far as anybody says.

    Args:
        sets: data sets to look for copies in, their training splits.
        ids: of all data sets that the model names; those that are not among `sets` cannot be looked at.
    """

    sets: tuple[ShardSet, ...] = ()
    ids: tuple[str, ...] = ()

    @property
    def unseen(self) -> list[str]:
        """Ids of data sets that the model was trained on and that nobody named a place of."""
        return sorted(set(self.ids) - {data.manifest.id for data in self.sets})


@dataclass(frozen=True, slots=True)
class SuiteRow:
    """One benchmark: our value in its unit, or why there is none.

    Args:
        value: None where `missing` says why.
        interval_95: of the protocol's main value; None where another number is compared.
        leaked_images: of `images`, as many as training images show too; None where nobody knows what was trained on.
        value_without_leaked: of the images that are left; None where nothing leaked.
    """

    benchmark: Benchmark
    value: float | None
    interval_95: tuple[float, float] | None
    images: int
    questions: int
    leaked_images: int | None
    value_without_leaked: float | None
    missing: str = ""


def run_suite(
    suite: Suite, data: ShardSet, trained: TrainingData, evaluate: Evaluate, out: Path, progress: Progress
) -> list[SuiteRow] | None:
    """Run the benchmarks that `data` has, a folder of answers and scores for each split, and write ``suite.json``.

    Returns:
        One row a benchmark, in the suite's order; None in a process that leaves the scores to another.

    Raises:
        UserError: the data set has none of the benchmarks.
    """
    there = [benchmark for benchmark in suite.benchmarks if not _missing(benchmark, data)]
    if not there:
        sources = ", ".join(dict.fromkeys(benchmark.source for benchmark in suite.benchmarks))
        raise UserError(f"{data.location} has no benchmark of the suite; build one of its sources: {sources}.")
    results: dict[str, tuple[EvaluationResult, QuestionScope]] = {}
    for split in dict.fromkeys(benchmark.split for benchmark in there):
        of_split = [benchmark for benchmark in there if benchmark.split == split]
        scope = QuestionScope(
            split=split,
            sources=tuple(dict.fromkeys(benchmark.source for benchmark in of_split)),
            tasks=tuple(dict.fromkeys(benchmark.task for benchmark in of_split)),
        )
        protocols = tuple(dict.fromkeys(benchmark.protocol for benchmark in of_split))
        result = evaluate(scope, protocols, out / split)
        if result is None:
            return None
        results[split] = result, scope
    leaks = {split: _leaks(data, split, trained, progress) for split in results}
    rows = [_row(benchmark, data, results, leaks) for benchmark in suite.benchmarks]
    content = {
        "format": "mmrs-suite-1",
        "title": suite.title,
        "data_set": data.manifest.id,
        "trained_on": [other.manifest.id for other in trained.sets],
        "trained_on_unseen": trained.unseen,
        "rows": [asdict(row) | {"benchmark": row.benchmark.model_dump(mode="json")} for row in rows],
    }
    encoded = orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
    replace_own(out / "suite.json", encoded, b'"format": "mmrs-suite-')
    return rows


def describe_suite(suite: Suite, rows: Sequence[SuiteRow], trained: TrainingData) -> str:
    """The table: ours, EarthGPT's, the best known and its year; sources and what cannot be compared below it."""
    header = ("benchmark", "metric", "ours", "95 %", "EarthGPT", "best known", "images", "leaked", "without leaked")
    lines = [table(header, [_cells(row) for row in rows])]
    for row in rows:
        known = [row.benchmark.earthgpt, row.benchmark.best]
        facts = [f"{each.who} {each.year}: {each.source}{_remark(each.note)}" for each in known if each is not None]
        notes = [row.missing, row.benchmark.note, *facts]
        lines.append(f"{row.benchmark.name}: {'; '.join(filter(None, notes))}.")
    if trained.unseen:
        names = ", ".join(name[:16] for name in trained.unseen)
        lines.append(f"not looked at for leaks: trained on data set {names}; name its place with --trained-on.")
    elif not trained.sets:
        lines.append("leaks unknown: the model does not say what it was trained on; name it with --trained-on.")
    return "\n".join(lines)


def _missing(benchmark: Benchmark, data: ShardSet) -> str:
    source = data.manifest.sources.get(benchmark.source)
    if source is None:
        return f"not in the data set: `mmrs build {benchmark.source} --root {benchmark.source}=DIR --out OUT`"
    if benchmark.split not in source.splits:
        return f"its split {benchmark.split} was not built, {', '.join(source.splits)} were"
    built_for = find_task(benchmark.task).built_for or benchmark.task
    return "" if built_for in source.tasks else f"not built for {built_for}"


def _leaks(data: ShardSet, split: str, trained: TrainingData, progress: Progress) -> Leaks | None:
    if not trained.sets:
        return None
    found = Leaks({}, {})
    for other in trained.sets:
        found |= find_leaks(data, split, other, 1, progress)
    return found


def _row(
    benchmark: Benchmark,
    data: ShardSet,
    results: dict[str, tuple[EvaluationResult, QuestionScope]],
    leaks: dict[str, Leaks | None],
) -> SuiteRow:
    missing = _missing(benchmark, data)
    if missing:
        return SuiteRow(benchmark, None, None, 0, 0, None, None, missing)
    result, scope = results[benchmark.split]
    row = _score_row(benchmark, result.rows)
    found = leaks[benchmark.split]
    leaked = None if found is None else {name for name in found.images if name.startswith(f"{benchmark.source}/")}
    return SuiteRow(
        benchmark=benchmark,
        value=_value(benchmark, row),
        interval_95=_scaled(benchmark, row),
        images=row.images,
        questions=row.questions,
        leaked_images=None if leaked is None else len(leaked),
        value_without_leaked=_value_without(benchmark, data, result, scope, leaked) if leaked else None,
    )


def _score_row(benchmark: Benchmark, rows: Sequence[ScoreRow]) -> ScoreRow:
    (row,) = [row for row in rows if (row.source, row.protocol) == (benchmark.source, benchmark.protocol)]
    return row


def _value(benchmark: Benchmark, row: ScoreRow) -> float | None:
    value: Any = row.value
    if benchmark.detail:
        value = dict(row.details)
        for name in benchmark.detail.split("/"):
            value = value[name]
    return None if value is None else float(value) * benchmark.scale


def _scaled(benchmark: Benchmark, row: ScoreRow) -> tuple[float, float] | None:
    if row.interval_95 is None or benchmark.detail:
        return None
    low, high = row.interval_95
    return low * benchmark.scale, high * benchmark.scale


def _value_without(
    benchmark: Benchmark, data: ShardSet, result: EvaluationResult, scope: QuestionScope, leaked: set[str]
) -> float | None:
    """The value on the images that the model cannot have seen."""
    questions, answers = load_questions(data, scope), read_answers(result.answers_path)
    pairs, _ = answered([*questions, *following_questions(scope, questions, answers)], answers)
    clean = [
        pair
        for pair in pairs
        if (pair.question.record.source, pair.question.task) == (benchmark.source, benchmark.task)
        and pair.question.record.id not in leaked
    ]
    return _value(benchmark, _score_row(benchmark, score(clean, (benchmark.protocol,)))) if clean else None


def _cells(row: SuiteRow) -> tuple[str | int, ...]:
    benchmark = row.benchmark
    unknown = "" if row.missing else "unknown"
    return (
        benchmark.name,
        benchmark.metric,
        "missing" if row.missing else _number(row.value),
        "" if row.interval_95 is None else "{:.2f} to {:.2f}".format(*row.interval_95),
        "" if benchmark.earthgpt is None else f"{benchmark.earthgpt.value:g}",
        "" if benchmark.best is None else f"{benchmark.best.value:g} ({benchmark.best.year})",
        row.images,
        unknown if row.leaked_images is None else row.leaked_images,
        "" if row.value_without_leaked is None else _number(row.value_without_leaked),
    )


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"


def _remark(note: str) -> str:
    return f" ({note})" if note else ""
