"""Where a shard is cut. Pure: from plans and a number of processes to parts of samples."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmrs.builder.shard import ShardTask

# Of the whole work, per process: so many that the last ones end nearly together.
_PARTS_PER_PROCESS = 16
# Fewer would make a part of less than a tenth of a second, and geometry is computed for so many at once.
_LEAST_SAMPLES = 64


@dataclass(frozen=True, slots=True)
class ShardPart:
    """Some consecutive samples of a shard: `task` has no others. `number` counts from 0, of `count`."""

    task: ShardTask
    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.task.path}, part {self.number + 1} of {self.count}"


def cut_shards(tasks: Sequence[ShardTask], processes: int) -> list[tuple[ShardPart, ...]]:
    """The parts of each shard; one where it is small beside the whole work of all `processes`.

    Shards of tiles, and of rows of tables, stay whole: parts would read the same scene or rows again.
    """
    part_bytes = sum(map(_planned_bytes, tasks)) / (_PARTS_PER_PROCESS * max(processes, 1))
    found = []
    for task in tasks:
        count = min(int(_planned_bytes(task) // part_bytes), len(task.samples) // _LEAST_SAMPLES) if part_bytes else 1
        if processes <= 1 or any(sample.block is not None for sample in task.samples):
            count = 1
        found.append(_cut(task, max(count, 1)))
    return found


def _planned_bytes(task: ShardTask) -> int:
    return sum(sample.planned_bytes for sample in task.samples)


def _cut(task: ShardTask, count: int) -> tuple[ShardPart, ...]:
    if count == 1:
        return (ShardPart(task, 0, 1),)
    ends = [len(task.samples) * number // count for number in range(count + 1)]
    return tuple(
        ShardPart(_excerpt(task, start, end), number, count)
        for number, (start, end) in enumerate(itertools.pairwise(ends))
    )


def _excerpt(task: ShardTask, start: int, end: int) -> ShardTask:
    samples = task.samples[start:end]
    stems = {sample.stem for sample in samples}
    excluded = tuple(pair for pair in task.excluded if pair[0] in stems)
    return replace(task, first_ordinal=task.first_ordinal + start, samples=samples, excluded=excluded)
