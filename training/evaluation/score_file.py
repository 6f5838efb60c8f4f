"""`scores.json` and the picture beside it: what an evaluation leaves, whoever gave the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from mmrs.shards.reader import ShardSet
from mmrs.storage.atomic import check_own, replace_own
from mmrs.text import PAGE_MARK
from training.evaluation.answers import answered
from training.evaluation.page.page import write_page
from training.evaluation.page.picture import PICTURE_MARK, draw_predictions
from training.evaluation.questions import QuestionScope
from training.evaluation.scores import ScoreRow, describe_rows, score
from training.evaluation.task import Answer, Question

_FORMAT = "mmrs-scores-1"
_SCORES_MARK = b'"format": "mmrs-scores-'


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """The rows as written to `scores.json`, and the files. The page is ``evaluation.html``.

    There is no picture where the images are not at hand.
    """

    rows: tuple[ScoreRow, ...]
    scores_path: Path
    answers_path: Path
    picture_path: Path | None
    page_path: Path


@dataclass(frozen=True, slots=True)
class AnswerOrigin:
    """Where answers came from: their file, and what there is to say of who gave them and how."""

    path: Path
    notes: Mapping[str, Any]


def publish_scores(
    data: ShardSet | None,
    scope: QuestionScope,
    questions: Sequence[Question[Any]],
    answers: Sequence[Answer],
    origin: AnswerOrigin,
    protocols: tuple[str, ...],
    out: Path,
) -> EvaluationResult:
    """Score the answers; write ``predictions.png``, ``evaluation.html`` and, last of all, ``scores.json`` into `out`.

    Args:
        data: where the images lie; None: nowhere, so there is no picture, and the page has words alone.

    Raises:
        UserError: a protocol that no task has, or none of the answers is to one of the questions.
    """
    pairs, unused = answered(questions, answers)
    rows = score(pairs, protocols)
    content = {
        "format": _FORMAT,
        **origin.notes,
        "data_set": data.manifest.id if data is not None else None,
        "split": scope.split,
        "scope": asdict(scope),
        "answers_to_other_questions": unused,
        "rows": [asdict(row) for row in rows],
    }
    picture = out / "predictions.png" if data is not None else None
    result = EvaluationResult(tuple(rows), out / "scores.json", origin.path, picture, out / "evaluation.html")
    out.mkdir(parents=True, exist_ok=True)
    facts = dict(origin.notes)
    if data is not None and picture is not None:
        draw_predictions(picture, data, pairs)
        facts |= {"data set": data.manifest.id, "split": scope.split}
    write_page(result.page_path, data, facts, rows, pairs)
    encoded = orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
    replace_own(result.scores_path, encoded, _SCORES_MARK)
    return result


def check_own_scores(out: Path) -> None:
    """Look whether what scores would replace in a folder is of an earlier evaluation, before the work for them.

    Raises:
        FileExistsError: a file is somebody else's.
    """
    check_own(out / "scores.json", _SCORES_MARK)
    check_own(out / "evaluation.html", PAGE_MARK.encode())
    check_own(out / "predictions.png", PICTURE_MARK)


def describe_scores(result: EvaluationResult) -> str:
    """The rows as a table, and the files."""
    picture = f", picture {result.picture_path}" if result.picture_path else ""
    files = f"scores in {result.scores_path}, answers in {result.answers_path}{picture}"
    return f"{describe_rows(result.rows)}\n{files}\npage to look at: {result.page_path}"
