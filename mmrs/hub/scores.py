"""Scores of models on a data set, for its card: rows of the ``scores.json`` files of `mmrs eval` and `mmrs score`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from mmrs.errors import UserError
from mmrs.shards.manifest import Manifest


@dataclass(frozen=True, slots=True)
class CardScore:
    """One value with what it must be read with; `who` answered, by name. Values are None where undefined."""

    who: str
    source: str
    split: str
    protocol: str
    metric: str
    value: float | None
    interval_95: tuple[float, float] | None
    constant_value: float | None
    questions: int
    failed: int


def read_card_scores(paths: Sequence[Path], manifest: Manifest) -> list[CardScore]:
    """The rows of the files, in their order.

    Raises:
        UserError: a file is none of `mmrs eval` or `mmrs score`, or its scores are of another data set.
    """
    return [row for path in paths for row in _read(path, manifest)]


def _read(path: Path, manifest: Manifest) -> list[CardScore]:
    try:
        content = orjson.loads(path.read_bytes())
        scored, split = str(content["data_set"]), str(content["split"])
        # Of a path only its last part: a card tells nobody where somebody's files lie.
        who = Path(str(content.get("model") or content["answers"]))
        name = who.parent.name if who.name == "model" and who.parent.name else who.name
        rows = [_row(row, name, split) for row in content["rows"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"--scores {path} is no scores.json of `mmrs eval`: {type(error).__name__} {error}. Name such a file."
        ) from error
    if scored != manifest.id:
        raise UserError(
            f"--scores {path} is of data set {scored[:16]}, this one is {manifest.id[:16]}; score its answers here: "
            "`mmrs score`."
        )
    return rows


def _row(row: dict[str, Any], who: str, split: str) -> CardScore:
    interval = row["interval_95"]
    return CardScore(
        who=who,
        source=str(row["source"]),
        split=split,
        protocol=str(row["protocol"]),
        metric=str(row["metric"]),
        value=_number(row["value"]),
        interval_95=None if interval is None else (float(interval[0]), float(interval[1])),
        constant_value=_number(row["constant_value"]),
        questions=int(row["questions"]),
        failed=int(row["failed"]),
    )


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
