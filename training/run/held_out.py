"""Evaluation while a run trains: the loss on a fixed part of another split, and a few answers with their picture.

The same packs each time, so the losses of one run, and of runs on the same data, are comparable. Nothing of it touches
the weights or the order of training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmrs.errors import UserError
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from training.config import HeldOutConfig, TrainConfig
from training.data.collate import Pack
from training.data.open import open_selection, plan_stream
from training.data.planning.selection import Selection
from training.data.webdataset import WebdatasetPacks, open_webdataset
from training.model.processing import EarthGPTProcessor
from training.stages.initial_model import StartModel
from training.step.precision import precision
from training.step.ranks import Ranks
from training.step.sharding import plain_forward
from training.step.step import LossSums, TargetLabels, Training, pack_losses, sum_losses

if TYPE_CHECKING:
    # Only runs that ask questions need what scores them.
    from training.evaluation.task import Answer, Question

ANSWER_BATCH = 8


@dataclass(frozen=True)
class HeldOutAnswers:
    """Questions of one data set that the model answers in training."""

    data: ShardSet
    questions: list[Question[Any]]


@dataclass(frozen=True)
class HeldOut:
    """The fixed packs, of which each rank computes every R-th, and the questions.

    `read` gives the pack of a number below `count`.
    """

    config: HeldOutConfig
    read: Callable[[int], Pack]
    count: int
    labels: TargetLabels
    processor: EarthGPTProcessor
    asked: HeldOutAnswers | None
    ranks: Ranks

    @cached_property
    def packs(self) -> list[Pack]:
        """This rank's packs, decoded once."""
        return [self.read(number) for number in range(self.ranks.rank, self.count, self.ranks.size)]

    @property
    def rounds(self) -> int:
        """Packs of the rank that has most."""
        return -(-self.count // self.ranks.size)


def open_held_out(config: TrainConfig, start_model: StartModel, ranks: Ranks, progress: Progress) -> HeldOut | None:
    """Plan the held-out packs of a run; None where the run has none.

    Raises:
        UserError: no such split or tars, nothing in it that fits a pack, or no question where answers are wanted.
        RunFailure: no sample of the tars can be used.
    """
    held_out = config.held_out
    if held_out is None:
        return None
    if held_out.webdataset:
        return _open_tars(config, held_out, start_model, ranks)
    data = config.data.model_copy(update={"splits": (held_out.split,), "mixture": (), "augment": None})
    selection = open_selection(data)
    processor = start_model.processor
    of_split = config.model_copy(update={"data": data})
    stream = plan_stream(of_split, selection, processor, start_model.max_positions, progress)
    sequence = stream.sequence
    count = min(held_out.packs, len(sequence.plan(0)))
    references = list(islice(sequence.walk(sequence.start()), count))
    return HeldOut(
        config=held_out,
        read=lambda number: stream.dataset[references[number]],
        count=count,
        labels=TargetLabels(stream.tasks, stream.sensors),
        processor=processor,
        asked=_questions(selection, held_out.split, held_out.answers),
        ranks=ranks,
    )


def _open_tars(config: TrainConfig, held_out: HeldOutConfig, start_model: StartModel, ranks: Ranks) -> HeldOut:
    """The first packs of tars of others, the same on every rank and in every start."""
    trained = open_webdataset(config, start_model.processor, start_model.max_positions)
    data = config.data.model_copy(update={"webdataset": held_out.webdataset, "augment": None})
    of_tars = config.model_copy(update={"data": data})
    stream = open_webdataset(of_tars, start_model.processor, start_model.max_positions)
    shared = sorted({*trained.urls} & {*stream.urls})
    if shared:
        raise UserError(f"held_out.webdataset: the run trains on {shared[0]} too; name other tars.")
    packs = list(islice(WebdatasetPacks(stream).one_pass(), held_out.packs))
    return HeldOut(
        config=held_out,
        read=packs.__getitem__,
        count=len(packs),
        labels=TargetLabels(stream.tasks, stream.sensors),
        processor=start_model.processor,
        asked=None,
        ranks=ranks,
    )


def held_out_losses(training: Training, held_out: HeldOut, stopped: Callable[[], bool]) -> LossSums | None:
    """Losses over all held-out packs; a collective.

    Args:
        stopped: asked after each pack, on every rank; must answer the same on all.

    Returns:
        None if it was stopped.
    """
    losses: list[tuple[Pack, torch.Tensor]] = []
    own = held_out.packs
    training.model.eval()
    try:
        with torch.no_grad():
            for number in range(held_out.rounds):
                # A rank without a pack left computes one again, for ranks that share weights compute together.
                pack = own[number] if number < len(own) else held_out.read(0)
                losses_T = pack_losses(training, pack)
                if number < len(own):
                    losses.append((pack, losses_T))
                if stopped():
                    return None
    finally:
        training.model.train()
    return sum_losses(training.ranks, held_out.labels, losses)


def answer(training: Training, held_out: HeldOut, folder: Path, step: int, stopped: Callable[[], bool]) -> Path | None:
    """Greedy answers to the fixed questions, written with a picture into `folder`; of one rank.

    Args:
        stopped: asked after each batch.

    Returns:
        The picture; None if there is nothing to ask, or if it was stopped.
    """
    from training.evaluation.answers import answered, write_answers
    from training.evaluation.page.picture import draw_predictions

    asked = held_out.asked
    if asked is None:
        return None
    answers: list[Answer] = []
    try:
        with plain_forward(training.model), precision(training.ranks.device, training.half):
            for first in range(0, len(asked.questions), ANSWER_BATCH):
                answers += _answers(training, held_out, asked, asked.questions[first : first + ANSWER_BATCH])
                if stopped():
                    return None
    finally:
        training.model.train()
    folder.mkdir(parents=True, exist_ok=True)
    write_answers(folder / f"step-{step:08d}.jsonl", answers)
    picture = folder / f"step-{step:08d}.png"
    pairs, _ = answered(asked.questions, answers)
    draw_predictions(picture, asked.data, pairs)
    return picture


def _answers(
    training: Training, held_out: HeldOut, asked: HeldOutAnswers, questions: Sequence[Question[Any]]
) -> list[Answer]:
    from training.evaluation.generate import Decoding, generate_answers

    decoding = Decoding(ANSWER_BATCH, held_out.config.max_new_tokens)
    return generate_answers(training.model, held_out.processor, asked.data, questions, decoding, lambda count: None)


def _questions(selection: Selection, split: str, count: int) -> HeldOutAnswers | None:
    if not count:
        return None
    from training.evaluation.questions import QuestionScope, load_questions
    from training.evaluation.tasks import task_names

    tasks = tuple(task for task in task_names() if task in selection.tasks)
    if not tasks:
        raise UserError(
            f"held_out.answers={count}, but split {split!r} has none of the tasks that have a scorer: "
            f"{', '.join(task_names())}. Set held_out.answers=0."
        )
    for data in selection.sets:
        own = tuple(source for source in selection.sources if source in data.manifest.sources)
        offered = {name for source in own for name in data.manifest.sources[source].tasks}
        asked = tuple(task for task in tasks if task in offered)
        if not asked:
            continue
        scope = QuestionScope(split, own, asked, count)
        return HeldOutAnswers(data, load_questions(data, scope)[:count])
    return None
