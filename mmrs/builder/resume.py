"""What an earlier run left: which shards are whole and still right, and why each other one must be written.

Two questions, answered apart: was the shard made by an equal task (by the digest of its state; else why not, the cause
before its consequences), and is it whole (by its done-file and the sizes of its files). No shard is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from mmrs.builder.ownership import ours_and_others
from mmrs.builder.shard import ShardResult, ShardTask
from mmrs.builder.state import StoredState, UnusableState, state_path
from mmrs.shards.manifest import done_path, index_path
from mmrs.shards.quarantine import relative_to_root
from mmrs.storage.place import STATE_FOLDER, Place

_OUR_STATES = re.compile(rf"{re.escape(STATE_FOLDER)}/([a-z0-9-]+/[a-z0-9_-]+)-\d{{5}}-of-(\d{{5}})\.tar\.task")
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
        in_the_way: names that the plan is to write, of files that no build made.
        others: names like those of shards, of files that no build made; they stay.
    """

    results: dict[str, ShardResult]
    missing: tuple[tuple[ShardTask, Reason], ...]
    stale: tuple[str, ...]
    in_the_way: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def stale_sources(self) -> tuple[str, ...]:
        """The sources of which nothing would stay."""
        planned = {path.partition("/")[0] for path in (*self.results, *(task.path for task, _ in self.missing))}
        there = {name.removeprefix(f"{STATE_FOLDER}/").partition("/")[0] for name in self.stale}
        return tuple(sorted(there - planned))


def existing_shards(tasks: Sequence[ShardTask], place: Place) -> ExistingShards:
    """Compare what is at `place` with what `tasks` would write. Reads the states and done-files, no shard.

    Raises:
        OSError: the place cannot be read.
    """
    output = _read_output(tasks, place)
    planned = {name for task in tasks for name in (*_names(task.path), state_path(task.path))}
    results, missing = {}, []
    for task in tasks:
        reasons = _why_other(task, output)
        found = reasons[0] if reasons else _whole(task, output)
        if isinstance(found, Reason):
            missing.append((task, found))
        else:
            results[task.path] = found
    # The done-file goes first: without it the others are no shard; the state goes last: it says whose the others are.
    stale = sorted(output.ours - planned, key=lambda name: (not name.endswith(".json"), name.endswith(".task"), name))
    in_the_way, others = sorted(output.others & planned), sorted(output.others - planned)
    return ExistingShards(results, tuple(missing), tuple(stale), tuple(in_the_way), tuple(others))


@dataclass(frozen=True, slots=True)
class _EarlierSplit:
    """A split that was cut into another number of shards: the state of one of them."""

    shards: int
    state_path: str


@dataclass(frozen=True, slots=True)
class _Output:
    """What lies at a place.

    Args:
        sizes: bytes of every file, by name.
        contents: of the states and done-files that the tasks ask for.
        ours: the files that a build wrote (`mmrs.builder.ownership`), `others` those that only look like it.
        earlier: splits in another number of shards, by ``<source>/<split>``.
    """

    sizes: Mapping[str, int]
    contents: Mapping[str, bytes]
    ours: frozenset[str]
    others: frozenset[str]
    earlier: Mapping[str, _EarlierSplit]


def _read_output(tasks: Sequence[ShardTask], place: Place) -> _Output:
    sizes = place.sizes()
    states = {state_path(task.path) for task in tasks}
    # One old state of each split tells why it is cut into another number of shards.
    earlier = {
        match[1]: _EarlierSplit(int(match[2]), name)
        for name in sorted(sizes.keys() - states)
        if (match := _OUR_STATES.fullmatch(name))
    }
    wanted = [name for task in tasks for name in (state_path(task.path), done_path(task.path)) if name in sizes]
    contents = place.read_many([*wanted, *(split.state_path for split in earlier.values())])
    ours, others = ours_and_others(place, sizes)
    return _Output(sizes, contents, ours, others, earlier)


def _why_other(task: ShardTask, output: _Output) -> list[Reason]:
    """Why what lies at the task's path was not made by an equal task, the cause before its consequences.

    Empty where it was, whole or not.
    """
    path = state_path(task.path)
    if path not in output.contents:
        return _why_without_state(task, output)
    try:
        before = StoredState.from_json(output.contents[path])
    except UnusableState as error:
        return [Reason(str(error), (path,))]
    after = StoredState.of(task)
    if before.digest == after.digest:
        return []
    return [*_changed_options(before, after), *_changed_samples(task, before, after), Reason("changed")]


def _why_without_state(task: ShardTask, output: _Output) -> list[Reason]:
    split, _, count = task.path.removesuffix(".tar").rpartition("-of-")
    earlier = output.earlier.get(split.rpartition("-")[0])
    if earlier is None:
        return [Reason("it is not known how it was made" if task.path in output.sizes else NOT_THERE)]
    try:
        before = StoredState.from_json(output.contents[earlier.state_path])
    except UnusableState as error:
        return [Reason(str(error), (earlier.state_path,))]
    other_number = Reason(f"the split has {int(count)} shards now, {earlier.shards} before")
    return [*_changed_options(before, StoredState.of(task)), other_number]


def _whole(task: ShardTask, output: _Output) -> ShardResult | Reason:
    """The shard as its done-file says, or what of it is missing or damaged."""
    done = done_path(task.path)
    if done not in output.contents:
        return Reason("not finished")
    try:
        result = ShardResult.model_validate(orjson.loads(output.contents[done]))
    except ValueError:
        return Reason("its done-file cannot be read", (done,))
    for name, size in ((task.path, result.bytes), (index_path(task.path), result.index_bytes)):
        actual = output.sizes.get(name)
        if result.records and actual is None:
            return Reason("file is missing", (name,))
        if result.records and actual != size:
            return Reason(f"file has {actual} bytes instead of {size}", (name,))
    return result


def _changed_options(before: StoredState, after: StoredState) -> list[Reason]:
    reasons = []
    if before.parts.get("format") != after.parts["format"]:
        reasons.append(Reason("made by another version of mmrs"))
    # The suffix follows from the options and the images.
    for part in sorted(after.parts.keys() - {"format", "split"}, key=lambda part: (part == "image suffix", part)):
        old, new = before.parts.get(part), after.parts[part]
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            names = sorted(name for name in old | new if old.get(name) != new.get(name))
            told = "; ".join(name + _step(old.get(name), new.get(name)) for name in names)
            reasons.append(Reason(f"{part} changed: {told}"))
        else:
            step = _step(old, new)
            reasons.append(Reason(f"{part} changed{':' if step else ''}{step}"))
    return reasons


def _changed_samples(task: ShardTask, before: StoredState, after: StoredState) -> list[Reason]:
    reasons = []
    old, new = ({sample.stem: sample for sample in state.samples} for state in (before, after))
    if old.keys() != new.keys():
        added, gone = sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys())
        reasons.append(Reason(f"other images in it: {len(added)} new, {len(gone)} gone", tuple((added + gone)[:1])))
    stayed = [(old[sample.stem], new[sample.stem], sample.item) for sample in task.samples if sample.stem in old]
    images = {image for earlier, now, item in stayed if earlier.image != now.image for image in item.images}
    annotations = {
        path for earlier, now, item in stayed if earlier.annotations != now.annotations for path in item.annotations
    }
    if images or annotations:
        files = [*sorted(images, key=str), *sorted(annotations)]
        reasons.append(Reason("source file changed", tuple(relative_to_root(str(path), task.root) for path in files)))
    contents = sorted(now.stem for earlier, now, _ in stayed if earlier.content != now.content)
    if contents:
        reasons.append(Reason("annotation changed", tuple(contents)))
    if list(old) != list(new):
        reasons.append(Reason("other order of images"))
    if before.parts.get("split") != after.parts["split"]:
        reasons.append(Reason("images before it were added or removed"))
    return reasons


def _step(before: Any, after: Any) -> str:
    """``" 1 -> 2"``, or nothing where the values are too long to read."""
    words = [" ".join(map(str, value)) if isinstance(value, list) else str(value) for value in (before, after)]
    return f" {words[0]} -> {words[1]}" if max(map(len, words)) <= _READABLE_CHARACTERS else ""


def _names(path: str) -> tuple[str, str, str]:
    return path, index_path(path), done_path(path)
