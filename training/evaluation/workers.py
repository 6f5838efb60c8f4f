"""Answers by one process or by several: each takes every n-th batch, so together they answer as one would.

Processes meet in the folder of the answers alone. On one machine `workers` are started here; under `torchrun`, on one
or several machines that share the folder, every rank is one, and rank 0 waits for the others and goes on alone.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmrs.errors import UserError
from mmrs.shards.reader import ShardSet
from training.evaluation.answer_parts import AnswerFolder
from training.evaluation.generate import Decoding, pending_batches
from training.evaluation.models.folder import open_answerer
from training.evaluation.questions import QuestionScope, asked, following_questions, load_questions
from training.evaluation.task import Question

_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class RankShare:
    """Process `rank` of `size`, on a device."""

    rank: int
    size: int
    device: str


@dataclass(frozen=True, slots=True)
class AnswerJob:
    """All that a process must know to answer its share: of the questions of `scope`, or of those that follow them."""

    model: Path
    data: Path | str
    out: Path
    scope: QuestionScope
    decoding: Decoding
    adapter: str = ""
    following: bool = False


def torchrun_share() -> RankShare | None:
    """This process as `torchrun` started it; None where it did not."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return None
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    return RankShare(rank, size, f"cuda:{local}" if torch.cuda.is_available() else "cpu")


def local_shares(workers: int) -> list[RankShare]:
    """Shares of as many processes of this machine, on its GPUs in turn."""
    gpus = torch.cuda.device_count()
    return [RankShare(rank, workers, f"cuda:{rank % gpus}" if gpus else "cpu") for rank in range(workers)]


def answer_share(
    job: AnswerJob, share: RankShare, data: ShardSet, questions: Sequence[Question[Any]], advance: Callable[[int], None]
) -> None:
    """Answer every `size`-th batch of those that are not answered when it begins."""
    folder = AnswerFolder(job.out)
    answerer = open_answerer(job.model, share.device, job.decoding, job.adapter, data)
    planned = answerer.plan(questions)
    # Of all batches and not of the pending ones, so that a share is the same whenever a process looks.
    own = planned[share.rank :: share.size]
    done = frozenset(folder.answered())
    for batch in pending_batches(own, done):
        folder.append(share.rank, answerer.answer(batch))
        advance(sum(question.id not in done for question in batch.questions))


def answer_in_processes(job: AnswerJob, workers: int, questions: int, advance: Callable[[int], None]) -> None:
    """Start `workers` processes and wait until all questions are answered.

    Raises:
        RuntimeError: a process ended before it had answered its share.
    """
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=_run_share, args=(job, share), daemon=True) for share in local_shares(workers)]
    folder = AnswerFolder(job.out)
    seen = min(folder.lines(), questions)
    for process in started:
        process.start()
    try:
        while any(process.is_alive() for process in started):
            for process in started:
                process.join(_POLL_SECONDS)
                if process.exitcode:
                    raise RuntimeError(f"a process that answers questions ended with {process.exitcode}")
            answered = min(folder.lines(), questions)
            advance(answered - seen)
            seen = answered
        advance(questions - seen)
    finally:
        for process in started:
            process.terminate()
            process.join()


def wait_for_others(job: AnswerJob, questions: Sequence[Question[Any]], advance: Callable[[int], None]) -> None:
    """Until the folder holds every answer. `torchrun` ends this process where another one failed."""
    wanted = {question.id for question in questions}
    folder, seen = AnswerFolder(job.out), 0
    while True:
        lines = folder.lines()
        answered = min(lines, len(wanted))
        advance(answered - seen)
        seen = answered
        # Lines alone do not tell that a question is answered: a stopped batch is answered again.
        if lines >= len(wanted) and wanted <= folder.answered().keys():
            return
        time.sleep(_POLL_SECONDS)


def _run_share(job: AnswerJob, share: RankShare) -> None:
    """What a started process does. Cores are shared out: threads that wait for each other's cores gain nothing."""
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // share.size))
    data = ShardSet(job.data)
    try:
        questions = load_questions(data, job.scope)
        if job.following:
            questions = asked(following_questions(job.scope, questions, AnswerFolder(job.out).answered().values()))
        answer_share(job, share, data, questions, lambda steps: None)
    except UserError as error:
        raise SystemExit(str(error)) from error
