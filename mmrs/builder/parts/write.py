"""All shards of a build on an engine: whole ones, and parts of large ones where its processes see one disk."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mmrs.builder.parts.cut import ShardPart, cut_shards
from mmrs.builder.parts.join import JoinedShard, WrittenPart, join_shard, write_part
from mmrs.builder.publish import publish_shard
from mmrs.builder.shard import ShardResult, ShardTask
from mmrs.engines.base import Engine
from mmrs.engines.garbage import rare_collections
from mmrs.storage.place import Place


@dataclass(frozen=True, slots=True)
class _Job:
    """A shard, or a part of one that is joined in `folder`."""

    part: ShardPart
    folder: Path | None


def write_shards(
    tasks: Sequence[ShardTask], place: Place, token: str, engine: Engine, say: Callable[[str], None]
) -> Generator[tuple[int, dict[str, ShardResult]], None, None]:
    """Write and publish every task's shard; yields how many samples were done, and the shards finished with them.

    Raises:
        RunFailure: as `publish_shard`, and where workers are lost again and again.
        StorageFailure: the place cannot be written to; names the shard.
    """
    with ExitStack() as stack:
        stack.enter_context(rare_collections())
        jobs: list[_Job] = []
        joined: dict[str, JoinedShard] = {}
        for task, parts in zip(tasks, cut_shards(tasks, engine.processes_here), strict=True):
            if len(parts) > 1:
                joined[task.path] = stack.enter_context(join_shard(task, len(parts), place))
                jobs += [_Job(part, joined[task.path].folder) for part in parts]
            else:
                jobs.append(_Job(parts[0], None))
        run = engine.run(partial(_run_job, place=place, token=token), jobs, _name_of, say)
        for position, result in stack.enter_context(closing(run)):
            part = jobs[position].part
            finished = {}
            if isinstance(result, ShardResult):
                finished[part.task.path] = result
            else:
                shard = joined[part.task.path]
                shard.add(part.number, result)
                if shard.is_whole:
                    finished[part.task.path] = shard.publish(token)
            yield len(part.task.samples), finished


def _run_job(job: _Job, place: Place, token: str) -> ShardResult | WrittenPart:
    if job.folder is None:
        return publish_shard(job.part.task, place, token)
    return write_part(job.part, job.folder, place, token)


def _name_of(job: _Job) -> str:
    return job.part.task.path if job.folder is None else str(job.part)
