"""What an earlier run left: which shards are whole and still right, and why each other one must be written."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import ValidationError

from mmrs.builder.shard import ShardResult, ShardTask
from mmrs.record import canonical_json
from mmrs.shards.manifest import done_path, index_path
from mmrs.storage.place import STATE_FOLDER, Place

_OUR_FILES = re.compile(r"([a-z0-9-]+/[a-z0-9_-]+)-\d{5}-of-(\d{5})\.(tar|parquet|done\.json)")
_OUR_STATES = re.compile(rf"{re.escape(STATE_FOLDER)}/([a-z0-9-]+/[a-z0-9_-]+)-\d{{5}}-of-(\d{{5}})\.tar\.task")
_FORMAT = 1
_READABLE_CHARACTERS = 40
NOT_THERE = "not written yet"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a shard is written: the kind of cause, and what it was seen at."""

    what: str
    at: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExistingShards:
    """The state of a place for a plan.

    Args:
        results: of the shards that are whole and made by an equal task, by path.
        missing: the tasks to run, each with its reason.
        stale: names of files of shards that the plan does not have.
    """

    results: dict[str, ShardResult]
    missing: tuple[tuple[ShardTask, Reason], ...]
    stale: tuple[str, ...]


def state_path(shard_path: str) -> str:
    """Where a build keeps the state of the task that made a shard."""
    return f"{STATE_FOLDER}/{shard_path}.task"


def task_state(task: ShardTask) -> bytes:
    """The state of a task as it is stored: a digest that decides, and short digests by part that explain.

    It must be taken before the task reads a file: one that changes meanwhile must look changed to the next run.
    """
    state = task.state()
    digest = hashlib.sha256(canonical_json(state)).hexdigest()
    samples = [
        [sample["stem"], *(_short(sample[part]) for part in ("image", "annotations", "content"))]
        for sample in state.pop("samples")
    ]
    return canonical_json({"state": _FORMAT, "digest": digest, "parts": state, "samples": samples})


def existing_shards(tasks: Sequence[ShardTask], place: Place) -> ExistingShards:
    """Compare what is at `place` with what `tasks` would write. Reads the states and done-files, no shard.

    Raises:
        OSError: the place cannot be read.
    """
    sizes = place.sizes()
    planned = {name for task in tasks for name in (*_names(task.path), state_path(task.path))}
    ours = [name for name in sizes if _OUR_FILES.fullmatch(name) or _OUR_STATES.fullmatch(name)]
    # The done-file goes first: without it the others are no shard.
    stale = sorted((name for name in ours if name not in planned), key=lambda name: (not name.endswith(".json"), name))
    # One old state of each split tells why it is cut into another number of shards.
    earlier = {match[1]: (name, match[2]) for name in stale if (match := _OUR_STATES.fullmatch(name))}
    wanted = [name for task in tasks for name in (state_path(task.path), done_path(task.path)) if name in sizes]
    contents = place.read_many([*wanted, *(name for name, _ in earlier.values())])
    results, missing = {}, []
    for task in tasks:
        outcome = _judge(task, contents, sizes, earlier)
        if isinstance(outcome, ShardResult):
            results[task.path] = outcome
        else:
            missing.append((task, outcome))
    return ExistingShards(results, tuple(missing), tuple(stale))


def _judge(
    task: ShardTask, contents: Mapping[str, bytes], sizes: Mapping[str, int], earlier: Mapping[str, tuple[str, str]]
) -> ShardResult | Reason:
    stored = contents.get(state_path(task.path))
    done = contents.get(done_path(task.path))
    split, _, count = task.path.removesuffix(".tar").rpartition("-of-")
    split = split.rpartition("-")[0]
    try:
        if stored is None:
            if split not in earlier:
                return Reason("it is not known how it was made") if task.path in sizes else Reason(NOT_THERE)
            state, before = earlier[split]
            old, new = orjson.loads(contents[state]), orjson.loads(task_state(task))
            return next(
                _option_changes(old, new), Reason(f"the split has {int(count)} shards now, {int(before)} before")
            )
        old, new = orjson.loads(stored), orjson.loads(task_state(task))
        if old["state"] != _FORMAT:
            return Reason("made by another version of mmrs")
        if old["digest"] != new["digest"]:
            return next(_changes(task, old, new), Reason("changed"))
    except (orjson.JSONDecodeError, TypeError, KeyError, IndexError, ValueError):
        return Reason("its state cannot be read", (state_path(task.path),))
    if done is None:
        return Reason("not finished")
    try:
        result = ShardResult.model_validate(orjson.loads(done))
    except (ValidationError, orjson.JSONDecodeError):
        return Reason("its done-file cannot be read", (done_path(task.path),))
    for name, size in ((task.path, result.bytes), (index_path(task.path), result.index_bytes)):
        if result.records and sizes.get(name) != size:
            what = f"file has {sizes[name]} bytes instead of {size}" if name in sizes else "file is missing"
            return Reason(what, (name,))
    return result


def _option_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Reason]:
    if old["parts"].get("format") != new["parts"]["format"]:
        yield Reason("made by another version of mmrs")
    # The suffix follows from the options and the images.
    for part in sorted(new["parts"], key=lambda part: (part == "image suffix", part)):
        before, after = old["parts"].get(part), new["parts"][part]
        if before == after or part in ("format", "split"):
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            names = sorted(name for name in before | after if before.get(name) != after.get(name))
            told = "; ".join(name + _step(before.get(name), after.get(name)) for name in names)
            yield Reason(f"{part} changed: {told}")
        else:
            step = _step(before, after)
            yield Reason(f"{part} changed{':' if step else ''}{step}")


def _changes(task: ShardTask, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Reason]:
    """What differs between two stored states of one shard, the cause before its consequences."""
    yield from _option_changes(old, new)
    before, after = {row[0]: row[1:] for row in old["samples"]}, {row[0]: row[1:] for row in new["samples"]}
    if before.keys() != after.keys():
        added, gone = sorted(after.keys() - before.keys()), sorted(before.keys() - after.keys())
        yield Reason(f"other images in it: {len(added)} new, {len(gone)} gone", tuple((added + gone)[:1]))
    state = {sample["stem"]: sample for sample in task.state()["samples"]}
    images = {state[stem]["image"][0] for stem in after if after[stem][0] != before[stem][0]}
    annotations = {
        file[0] for stem in after if after[stem][1] != before[stem][1] for file in state[stem]["annotations"]
    }
    if images or annotations:
        yield Reason("source file changed", tuple(sorted(images) + sorted(annotations)))
    contents = sorted(stem for stem in after if after[stem][2] != before[stem][2])
    if contents:
        yield Reason("annotation changed", tuple(contents))
    if [row[0] for row in old["samples"]] != [row[0] for row in new["samples"]]:
        yield Reason("other order of images")
    if old["parts"].get("split") != new["parts"]["split"]:
        yield Reason("images before it were added or removed")


def _step(before: Any, after: Any) -> str:
    """``" 1 -> 2"``, or nothing where the values are too long to read."""
    words = [" ".join(map(str, value)) if isinstance(value, list) else str(value) for value in (before, after)]
    return f" {words[0]} -> {words[1]}" if max(map(len, words)) <= _READABLE_CHARACTERS else ""


def _short(value: Any) -> str:
    return hashlib.sha256(canonical_json(value)).hexdigest()[:8]


def _names(path: str) -> tuple[str, str, str]:
    return path, index_path(path), done_path(path)
