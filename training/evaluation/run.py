"""Evaluate a model on a split of a data set: one of ours, a checkpoint of transformers, or one behind an endpoint.

answers.jsonl  what was said (written first)      predictions.png      scores.json  the rows (written last)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmrs.errors import UserError
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from mmrs.storage.atomic import file_sha256
from training.evaluation.adapters.adapter import Adapter
from training.evaluation.answer_parts import AnswerFolder
from training.evaluation.answers import ANSWERS_NAME
from training.evaluation.generate import Decoding
from training.evaluation.models.endpoint import Endpoint, EndpointAnswerer, answer_concurrently, check_endpoint
from training.evaluation.models.folder import adapter_of_folder
from training.evaluation.questions import QuestionScope, asked, asks_again, following_questions, load_questions
from training.evaluation.score_file import AnswerOrigin, EvaluationResult, check_own_scores, publish_scores
from training.evaluation.task import Question
from training.evaluation.tasks import check_protocols, check_ready
from training.evaluation.workers import (
    AnswerJob,
    RankShare,
    answer_in_processes,
    answer_share,
    local_shares,
    torchrun_share,
    wait_for_others,
)


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """What `evaluate` asks, how, and by which protocols it scores; a task of which none is named has its own.

    `model` is a folder, or the URL of an OpenAI-compatible API, which `endpoint` says how to ask. `adapter` names how
    another model than ours is asked and read; empty: by the kind of its checkpoint. `data` is a folder or a URL.
    `workers` processes share the questions; under `torchrun` its ranks do.
    """

    model: Path | str
    data: Path | str
    out: Path
    scope: QuestionScope = field(default_factory=QuestionScope)
    decoding: Decoding = field(default_factory=Decoding)
    protocols: tuple[str, ...] = ()
    workers: int = 1
    adapter: str = ""
    endpoint: Endpoint = field(default_factory=Endpoint)


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
    adapter = _adapter(config)
    check_own_scores(config.out)
    folder = AnswerFolder(config.out)
    folder.begin(_identity(config, data, adapter))
    share = torchrun_share()
    _answer_missing(config, data, questions, share, progress, following=False)
    following = following_questions(config.scope, questions, folder.answered().values())
    _answer_missing(config, data, asked(following), share, progress, following=True)
    if share is not None and share.rank:
        return None
    answers = folder.finish([*questions, *asked(following)])
    notes = {"model": _name(config), "decoding": config.decoding.describe()}
    if adapter is not None:
        notes["adapter"] = adapter.name
    origin = AnswerOrigin(config.out / ANSWERS_NAME, notes)
    questions += following
    return publish_scores(data, config.scope, questions, answers, origin, config.protocols, config.out)


def _answer_missing(
    config: EvaluationConfig,
    data: ShardSet,
    questions: Sequence[Question[Any]],
    share: RankShare | None,
    progress: Progress,
    following: bool,
) -> None:
    """Answer what the folder has no answer to; `following`: the questions are those about other answers."""
    if len(AnswerFolder(config.out).answered().keys() & {question.id for question in questions}) < len(questions):
        with progress.stage("ask again" if following else "generate", len(questions), "answers") as advance:
            _answer_all(config, data, questions, share, advance, following)


def _answer_all(
    config: EvaluationConfig,
    data: ShardSet,
    questions: Sequence[Question[Any]],
    share: RankShare | None,
    advance: Callable[[int], None],
    following: bool,
) -> None:
    """Answers of all questions into the folder, by this process or by several."""
    folder = AnswerFolder(config.out)
    there = len(folder.answered().keys() & {question.id for question in questions})
    if isinstance(config.model, str):
        adapter = check_endpoint(config.model, config.endpoint, config.adapter)
        answerer = EndpointAnswerer(config.model, config.endpoint, adapter, config.decoding, data)
        advance(there)
        answer_concurrently(answerer, folder, questions, config.endpoint.concurrency, advance)
        return
    job = AnswerJob(config.model, config.data, config.out, config.scope, config.decoding, config.adapter, following)
    if share is not None:
        answer_share(job, share, data, questions, lambda steps: None)
        # The others have something to wait for only where questions about the answers come next.
        if share.rank == 0 or (not following and asks_again(config.scope)):
            wait_for_others(job, questions, advance if share.rank == 0 else lambda steps: None)
    elif config.workers > 1:
        answer_in_processes(job, config.workers, len(questions), advance)
    else:
        (alone,) = local_shares(1)
        advance(there)
        answer_share(job, alone, data, questions, advance)


def _adapter(config: EvaluationConfig) -> Adapter | None:
    """How another model than ours is asked; None for ours. Raises UserError for what does not go together."""
    if isinstance(config.model, str):
        adapter: Adapter | None = check_endpoint(config.model, config.endpoint, config.adapter)
        if config.workers > 1 or torchrun_share() is not None:
            raise UserError("an endpoint is asked by one process; say how many requests at once with --concurrency.")
    else:
        adapter = adapter_of_folder(config.model, config.adapter)
    if adapter is not None and config.decoding.constrained:
        raise UserError("--constrained keeps the grammar of our own answers; other models are not held to it.")
    return adapter


def _name(config: EvaluationConfig) -> str:
    return f"{config.endpoint.model} at {config.model}" if isinstance(config.model, str) else str(config.model)


def _identity(config: EvaluationConfig, data: ShardSet, adapter: Adapter | None) -> dict[str, Any]:
    """Whatever may change an answer; the size of batches does not."""
    decoding = {name: value for name, value in asdict(config.decoding).items() if name != "batch_size"}
    return {
        **_model_identity(config),
        **({} if adapter is None else {"adapter": adapter.name}),
        "data_set": data.manifest.id,
        **{name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config.scope).items()},
        **decoding,
    }


def _model_identity(config: EvaluationConfig) -> dict[str, Any]:
    if isinstance(config.model, str):
        return {"endpoint": config.model.rstrip("/"), "model": config.endpoint.model}
    return {"weights_sha256": {path.name: file_sha256(path) for path in sorted(config.model.glob("*.safetensors"))}}
