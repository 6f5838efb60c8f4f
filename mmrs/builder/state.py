"""What a shard was made from, as it is stored beside it: a digest that decides, short digests by part that explain.

A state must be taken before the task reads a file: one that changes meanwhile must look changed to the next run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from mmrs.builder.shard import ShardTask
from mmrs.record import canonical_json
from mmrs.storage.place import STATE_FOLDER

FORMAT = 1
_REUSED = "reused"


class UnusableState(ValueError):
    """A stored state with which nothing can be compared; the message is why, in a user's words."""


@dataclass(frozen=True, slots=True)
class StoredSample:
    """Short digests of one sample: its image file, its annotation files, and what was read for it."""

    stem: str
    image: str
    annotations: str
    content: str


@dataclass(frozen=True, slots=True)
class SampleStates:
    """Of some samples of a task, as their files are now: canonical JSON of the plain values with commas between, and
    what of them is stored."""

    values: bytes
    stored: tuple[StoredSample, ...]

    @classmethod
    def of(cls, task: ShardTask) -> SampleStates:
        """Those of a task's samples."""
        values = [task.sample_state(sample) for sample in task.samples]
        return cls(b",".join(map(canonical_json, values)), tuple(map(_stored_sample, values)))


@dataclass(frozen=True, slots=True)
class StoredState:
    """The state of a task: equal digests are equal tasks. `parts` are its options by their names in messages."""

    digest: str
    parts: dict[str, Any]
    samples: tuple[StoredSample, ...]

    @classmethod
    def of(cls, task: ShardTask) -> StoredState:
        """The state of a task as its files are now."""
        return cls.joined(task, [SampleStates.of(task)])

    @classmethod
    def joined(cls, task: ShardTask, parts: Sequence[SampleStates]) -> StoredState:
        """The state of a task of whose samples the `parts` are those of all, in order."""
        state = task.state()
        values = orjson.Fragment(b"[" + b",".join(part.values for part in parts if part.values) + b"]")
        digest = hashlib.sha256(canonical_json(state | {"samples": values})).hexdigest()
        return cls(digest, state, tuple(sample for part in parts for sample in part.stored))

    @classmethod
    def from_json(cls, data: bytes) -> StoredState:
        """Parse a stored state. Raises `UnusableState`."""
        try:
            stored = orjson.loads(data)
            if stored["state"] == _REUSED:
                raise UnusableState("taken from another data set by `mmrs merge` or `mmrs split`")
            if stored["state"] != FORMAT:
                raise UnusableState("made by another version of mmrs")
            samples = tuple(StoredSample(*map(str, row)) for row in stored["samples"])
            return cls(str(stored["digest"]), dict(stored["parts"]), samples)
        except UnusableState:
            raise
        except (ValueError, TypeError, KeyError) as error:
            raise UnusableState("its state cannot be read") from error

    def to_json(self) -> bytes:
        """Canonical JSON, samples as rows."""
        samples = [[each.stem, each.image, each.annotations, each.content] for each in self.samples]
        return canonical_json({"state": FORMAT, "digest": self.digest, "parts": self.parts, "samples": samples})


def state_path(shard_path: str) -> str:
    """Where a build keeps the state of the task that made a shard."""
    return f"{STATE_FOLDER}/{shard_path}.task"


def reused_state(parent_id: str, shard_path: str) -> bytes:
    """The state of a shard that was taken from another data set, where it had this path."""
    return canonical_json({"state": _REUSED, "data_set": parent_id, "shard": shard_path})


def is_reused_state(data: bytes) -> bool:
    """Whether `reused_state` made it."""
    try:
        stored = orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return isinstance(stored, dict) and stored.get("state") == _REUSED


def _stored_sample(value: dict[str, Any]) -> StoredSample:
    image, annotations, content = (_short_digest(value[part]) for part in ("image", "annotations", "content"))
    return StoredSample(value["stem"], image, annotations, content)


def _short_digest(value: Any) -> str:
    return hashlib.sha256(canonical_json(value)).hexdigest()[:8]
