"""A suite for a saved model, which may say itself what it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmrs.errors import UserError
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from training.evaluation.models.folder import is_own_model
from training.evaluation.questions import QuestionScope
from training.evaluation.run import EvaluationConfig, evaluate
from training.evaluation.score_file import EvaluationResult
from training.evaluation.suites.run import TrainingData, describe_suite, run_suite
from training.evaluation.suites.suite import load_suite
from training.model import EarthGPTConfig


def evaluate_suite(name: str, config: EvaluationConfig, trained_on: Sequence[Path | str], progress: Progress) -> str:
    """Run the suite `name` as `config` says and return its table; empty in a rank that leaves it to another.

    Raises:
        UserError: an unknown suite; `config` says what is asked too; nothing of the suite is in the data set.
    """
    if config.scope != QuestionScope(dialect=config.scope.dialect) or config.protocols:
        raise UserError("--suite says what is asked: leave out --split, --source, --task, --limit and --protocol.")
    suite, data = load_suite(name), ShardSet(config.data)
    trained = _trained(config.model, data, trained_on)

    def of_split(scope: QuestionScope, protocols: tuple[str, ...], out: Path) -> EvaluationResult | None:
        asked = replace(scope, dialect=config.scope.dialect)
        return evaluate(replace(config, scope=asked, protocols=protocols, out=out), progress)

    rows = run_suite(suite, data, trained, of_split, config.out, progress)
    if rows is None:
        return ""
    return f"{describe_suite(suite, rows, trained)}\nsuite in {config.out / 'suite.json'}"


def _trained(model: Path | str, data: ShardSet, named: Sequence[Path | str]) -> TrainingData:
    """The data sets that the user names, and the evaluated one itself where a model of ours was trained on it.

    Other models and endpoints do not say what they were trained on.
    """
    origin: dict[str, Any] = {}
    if isinstance(model, Path) and is_own_model(model):
        origin = EarthGPTConfig.from_pretrained(model).origin or {}
    ids = tuple(
        dict.fromkeys(str(run.get("data_set_id")) for run in origin.get("training", []) if run.get("data_set_id"))
    )
    sets = [ShardSet(location) for location in named]
    if data.manifest.id in ids and data.manifest.id not in {other.manifest.id for other in sets}:
        sets.append(data)
    return TrainingData(tuple(sets), ids)
