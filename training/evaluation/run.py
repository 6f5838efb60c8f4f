"""Evaluate a saved model on a split of a data set.

answers.jsonl  what was said (written first)      predictions.png      scores.json  the rows (written last)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from mmrs.storage.atomic import file_sha256
from training.evaluation.answer_parts import AnswerFolder
from training.evaluation.answers import ANSWERS_NAME
from training.evaluation.generate import Decoding
from training.evaluation.questions import QuestionScope, load_questions
from training.evaluation.score_file import AnswerOrigin, EvaluationResult, publish_scores
from training.evaluation.tasks import check_protocols, check_ready
from training.evaluation.workers import (
    AnswerJob,
    answer_in_processes,
    answer_share,
    local_shares,
    torchrun_share,
    wait_for_others,
)
from training.model.folder import check_model_folder


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """What `evaluate` asks, how, and by which protocols it scores; a task of which none is named has its own.

    `data` is a folder or a URL. `workers` processes share the questions; under `torchrun` its ranks do.
    """

    model: Path
    data: Path | str
    out: Path
    scope: QuestionScope = field(default_factory=QuestionScope)
    decoding: Decoding = field(default_factory=Decoding)
    protocols: tuple[str, ...] = ()
    workers: int = 1


def evaluate(config: EvaluationConfig, progress: Progress) -> EvaluationResult | None:
    """Answer every question of the scope and write the three files into `config.out`.

    A stopped evaluation goes on where it stopped when it is started again with the same `out`; a finished one is scored
    again without asking anything.

    Returns:
        None in the ranks of `torchrun` that answer and leave the scores to rank 0.

    Raises:
        UserError: no model or no finished data set where the config says, unknown split, source, task or protocol, or
            `out` holds the answers of another evaluation, or something that a protocol needs is not installed.
    """
    check_protocols(config.protocols)
    data = ShardSet(config.data)
    questions = load_questions(data, config.scope)
    check_ready(questions, config.protocols)
    check_model_folder(config.model)
    folder = AnswerFolder(config.out)
    folder.begin(_identity(config, data))
    job = AnswerJob(config.model, config.data, config.out, config.scope, config.decoding)
    share = torchrun_share()
    there = len(folder.answered().keys() & {question.id for question in questions})
    if there < len(questions):
        with progress.stage("generate", len(questions), "answers") as advance:
            if share is not None:
                answer_share(job, share, data, questions, lambda steps: None)
                if share.rank == 0:
                    wait_for_others(job, questions, advance)
            elif config.workers > 1:
                answer_in_processes(job, config.workers, len(questions), advance)
            else:
                (alone,) = local_shares(1)
                advance(there)
                answer_share(job, alone, data, questions, advance)
    if share is not None and share.rank:
        return None
    answers = folder.finish(questions)
    notes = {"model": str(config.model), "decoding": config.decoding.describe()}
    origin = AnswerOrigin(config.out / ANSWERS_NAME, notes)
    return publish_scores(data, config.scope, questions, answers, origin, config.protocols, config.out)


def _identity(config: EvaluationConfig, data: ShardSet) -> dict[str, Any]:
    """Whatever may change an answer; the size of batches does not."""
    decoding = {name: value for name, value in asdict(config.decoding).items() if name != "batch_size"}
    return {
        "weights_sha256": {path.name: file_sha256(path) for path in sorted(config.model.glob("*.safetensors"))},
        "data_set": data.manifest.id,
        **{name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config.scope).items()},
        **decoding,
    }
