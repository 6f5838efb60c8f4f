"""What is asked: one prompt about one image, with the reference that scores its answer."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mmrs.errors import UserError
from mmrs.geometry import Array
from mmrs.instructions import prompts
from mmrs.instructions.dialects import Dialect, dialect
from mmrs.record import Record
from mmrs.shards.reader import ShardSet

TASKS = ("classification", "detection-hbb", "detection-obb")


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt. `row` is the index row of its image (shard, offsets); `reference` the text the shards hold;
    `dialect` how boxes are written in the answer."""

    id: str
    task: str
    prompt: str
    reference: str
    row: dict
    record: Record
    dialect: Dialect


@dataclass(frozen=True, slots=True)
class TrueBoxes:
    """Ground truth of one image, pixels: quads ``(N, 4, 2)``, extents ``(N, 4)``, categories, which are ignored."""

    quads: Array
    extents: Array
    categories: tuple[str, ...]
    ignored: np.ndarray


def load_questions(
    data: ShardSet, split: str, sources: tuple[str, ...] | None, tasks: Sequence[str], limit: int | None
) -> list[Question]:
    """One question per image and task: the class, or all objects. Prompts for single classes would count objects twice.

    `limit` takes the first images of each source in shard order, which is a seeded permutation.

    Raises:
        UserError: a task that cannot be scored, or none of the images has one of the tasks.
    """
    for task in tasks:
        if task not in TASKS:
            raise UserError(f"task {task!r} has no scorer; choose from {', '.join(TASKS)}.")
    wanted = {
        "classification": prompts.CLASSIFICATION,
        **{task: prompts.DETECTION_ALL[task] for task in ("detection-hbb", "detection-obb")},
    }
    written = dialect(data.manifest.dialect_name)
    questions: list[Question] = []
    taken: dict[str, int] = {}
    for row in data.table(split, sources).to_pylist():
        source = data.manifest.shards[row["shard"]].source
        if limit is not None and taken.get(source, 0) >= limit:
            continue
        if not set(tasks) & set(row["dialogue_tasks"]):
            continue
        taken[source] = taken.get(source, 0) + 1
        record = data.record(row)
        for dialogue in record.dialogues:
            prompt = dialogue.turns[0].value
            if dialogue.task in tasks and prompt == wanted[dialogue.task]:
                name = f"{record.id}#{dialogue.task}"
                questions.append(Question(name, dialogue.task, prompt, dialogue.turns[1].value, row, record, written))
    if not questions:
        raise UserError(f"split {split!r} of {data.location} has no dialogue of {', '.join(tasks)}; see `mmrs verify`.")
    return questions


def open_image(data: ShardSet, question: Question) -> Image.Image:
    """The question's image, decoded."""
    with Image.open(io.BytesIO(data.image(question.row)), formats=("JPEG", "PNG")) as image:
        image.load()
        return image


def true_boxes(record: Record) -> TrueBoxes:
    """The boxes that a record states."""
    return TrueBoxes(
        quads=np.array([item.quad for item in record.objects], dtype=np.float64).reshape(-1, 4, 2),
        extents=np.array([item.extent() for item in record.objects], dtype=np.float64).reshape(-1, 4),
        categories=tuple(item.category for item in record.objects),
        ignored=np.array([item.ignore for item in record.objects], dtype=bool),
    )
