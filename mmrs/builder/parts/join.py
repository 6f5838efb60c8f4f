"""Parts of one shard, written anywhere on this machine, joined in order: the bytes and the digests of a shard in one.

A part is a file of members beside what is known of them, with offsets of its own. The tar grows by each part as soon as
all before it are there, so that little is left to do after the last; then the shard is published like any other. It
stays the unit of resume: of a build that ends before, no part is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from mmrs.builder.parts.cut import ShardPart
from mmrs.builder.publish import bring, check_machine, failures_of_storage
from mmrs.builder.shard import ShardResult, ShardTask, WrittenSamples, complete_shard, write_samples
from mmrs.builder.state import SampleStates, StoredState
from mmrs.shards.tar import MemberWriter, TarWriter
from mmrs.storage.atomic import temporary_name
from mmrs.storage.place import Place


@dataclass(frozen=True, slots=True)
class WrittenPart:
    """A part whose members are written to a file of that name, and the states of its samples before they were read."""

    file: str
    states: SampleStates
    written: WrittenSamples


def write_part(part: ShardPart, folder: Path, place: Place, token: str) -> WrittenPart:
    """Write the members of a part into a file of its own in `folder`.

    Of its own: a process that is taken for dead may write for a moment longer than one that does its work again.

    Raises:
        RunFailure: as `publish_shard`.
        StorageFailure: the file cannot be written; names the shard.
    """
    check_machine(part.task, place, token)
    states = SampleStates.of(part.task)
    name = temporary_name(f"part-{part.number}")
    with failures_of_storage(part.task, place), (folder / name).open("xb") as file:
        return WrittenPart(name, states, write_samples(part.task, folder, MemberWriter(file)))


@dataclass
class JoinedShard:
    """A shard that grows by parts. `task` has all its samples; the parts lie in `folder`."""

    task: ShardTask
    folder: Path
    place: Place
    count: int
    writer: TarWriter
    _waiting: dict[int, WrittenPart] = field(default_factory=dict)
    _states: list[SampleStates] = field(default_factory=list)
    _written: WrittenSamples = field(default_factory=lambda: WrittenSamples([], [], Counter(), []))

    def add(self, number: int, part: WrittenPart) -> None:
        """A part that is written, in any order; those whose turn it is are appended, and their files removed.

        Raises:
            StorageFailure: names the shard.
        """
        self._waiting[number] = part
        with failures_of_storage(self.task, self.place):
            while len(self._states) in self._waiting:
                self._append(self._waiting.pop(len(self._states)))

    def _append(self, part: WrittenPart) -> None:
        members = self.folder / part.file
        with members.open("rb") as file:
            start = self.writer.append(file)
        members.unlink()
        for row in part.written.rows:
            row["image_offset"] += start
            row["record_offset"] += start
            row["further_offset"] = [offset + start for offset in row["further_offset"]]
        self._written.rows.extend(part.written.rows)
        self._written.unlisted.extend(part.written.unlisted)
        self._written.dialogues.update(part.written.dialogues)
        self._written.quarantine.extend(part.written.quarantine)
        self._states.append(part.states)

    @property
    def is_whole(self) -> bool:
        """Whether every part is in the tar."""
        return len(self._states) == self.count

    def publish(self, token: str) -> ShardResult:
        """Bring the whole shard to its place. Raises as `publish_shard`."""
        with failures_of_storage(self.task, self.place):
            sha256 = self.writer.finish()
            self.writer.flush()
            result = complete_shard(self.task, self.folder, self._written, self.writer.bytes_written, sha256)
            state = StoredState.joined(self.task, self._states)
            bring(self.task, state, result, self.folder, self.place, token)
        return result


@contextmanager
def join_shard(task: ShardTask, count: int, place: Place) -> Generator[JoinedShard, None, None]:
    """A shard of `count` parts; its folder, with what is not published, vanishes at the end.

    Raises:
        StorageFailure: the folder cannot be made; names the shard.
    """
    with ExitStack() as stack:
        with failures_of_storage(task, place):
            folder = stack.enter_context(place.staging())
            (folder / task.path).parent.mkdir(parents=True)
            file = (folder / task.path).open("wb")
        stack.callback(_close, file)
        yield JoinedShard(task, folder, place, count, TarWriter(file))


def _close(file: BinaryIO) -> None:
    # What could not be written has been told; a tar that is whole was flushed.
    with suppress(OSError):
        file.close()
