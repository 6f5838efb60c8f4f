"""Write a data set of shards that lie in finished ones: linked, copied or fetched, each checked; the manifest last.

A run that is killed leaves whole shards and no manifest, and the same command goes on from there. What an earlier run
of these commands put there and is no longer wanted is removed; shards of a build and files of others never are.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from mmrs.builder.ownership import check_ownership, ours_and_others, shown_names
from mmrs.builder.publish import storage_failure
from mmrs.builder.reuse.combination import Combination, PlacedShard
from mmrs.builder.state import is_reused_state, reused_state, state_path
from mmrs.errors import RunFailure, UserError
from mmrs.progress import Progress
from mmrs.shards.manifest import MANIFEST_NAME, Manifest, ShardEntry, done_path, index_path, load_manifest
from mmrs.shards.quarantine import QUARANTINE_NAME
from mmrs.storage.atomic import file_sha256
from mmrs.storage.download import RemoteReader
from mmrs.storage.local import LocalPlace
from mmrs.storage.open import open_place
from mmrs.storage.place import READINGS, Place
from mmrs.storage.plain_files import open_to_read
from mmrs.storage.urls import parse_location
from mmrs.text import see_verify

_CHUNK_BYTES = 8 * 2**20
HowReused = Literal["linked", "copied", "there already"]


@dataclass(frozen=True, slots=True)
class ReuseTask:
    """One shard to bring to a place: where it lies, what it is there, and its name, done-file and state here."""

    location: Path | str
    entry: ShardEntry
    path: str
    done: bytes
    state: bytes

    @property
    def names(self) -> tuple[str, str, str, str]:
        """State, tar, index and done-file, in the order in which they are written."""
        return state_path(self.path), self.path, index_path(self.path), done_path(self.path)


@dataclass(frozen=True, slots=True)
class ReuseResult:
    """A data set that was put together: its manifest, and how many shards came there in which way."""

    out: Path | str
    manifest: Manifest
    shards: dict[HowReused, int]


def write_combination(
    combination: Combination, out: Path | str, progress: Progress, workers: int, links: bool = True
) -> ReuseResult:
    """Bring all shards to `out`, then write the quarantine and last of all the manifest.

    Args:
        out: a folder, or a URL of fsspec.
        workers: shards that are brought at a time.
        links: whether tars and indexes in folders become hard links, where the file system has them.

    Raises:
        UserError: another command writes to `out`, nothing can be written there, or it holds files of others or the
            shards of a build.
        RunFailure: a shard cannot be read or is not the one that its manifest names, or the storage failed; what is
            finished stays for the next run.
    """
    place = open_place(out)
    tasks = [_task(placed) for placed in combination.shards]
    with place.lock(progress.note) as token:
        try:
            missing, stale = _look_at(place, tasks)
            if left := place.remove_leftovers():
                progress.note(f"left alone, as no build made it: {', '.join(left)}")
            if missing or stale:
                place.remove([MANIFEST_NAME, *stale])
            ways = _bring(missing, place, token, workers, links, progress)
            place.check(token)
            place.remove_leftovers()
            place.write(QUARANTINE_NAME, combination.quarantine)
            place.write(MANIFEST_NAME, combination.manifest.to_json())
        except OSError as error:
            raise storage_failure(place, error, "the data set") from error
        except (KeyboardInterrupt, SystemExit):
            with suppress(OSError):
                place.remove_leftovers()
            raise
    counts: dict[HowReused, int] = {"linked": 0, "copied": 0, "there already": len(tasks) - len(missing)}
    for way in ways:
        counts[way] += 1
    return ReuseResult(parse_location(out), combination.manifest, counts)


def _task(placed: PlacedShard) -> ReuseTask:
    taken = placed.taken
    state = reused_state(taken.shards.manifest.id, taken.entry.path)
    return ReuseTask(parse_location(taken.shards.location), taken.entry, placed.path, taken.done, state)


def _look_at(place: Place, tasks: Sequence[ReuseTask]) -> tuple[list[ReuseTask], list[str]]:
    """The tasks whose shard is not there whole, and the names of what earlier runs left and none of them wants."""
    sizes = place.sizes()
    ours, others = ours_and_others(place, sizes)
    planned = {name for task in tasks for name in task.names}
    check_ownership(place, sorted(others & planned), (), bool(ours))
    dones = place.read_many([done_path(task.path) for task in tasks if done_path(task.path) in sizes])
    missing = [task for task in tasks if not _is_whole(task, sizes, dones.get(done_path(task.path)))]
    _check_replaceable(place, ours, planned - {name for task in missing for name in task.names})
    stale = ours - planned
    # The done-file goes first: without it the others are no shard; the state goes last: it says whose the others are.
    return missing, sorted(stale, key=lambda name: (not name.endswith(".done.json"), name.endswith(".task"), name))


def _is_whole(task: ReuseTask, sizes: dict[str, int], done: bytes | None) -> bool:
    there = (sizes.get(task.path), sizes.get(index_path(task.path)))
    return done == task.done and there == (task.entry.bytes, task.entry.index_bytes)


def _check_replaceable(place: Place, ours: Collection[str], whole: Collection[str]) -> None:
    """Refuse to change a data set that these commands did not make; `whole` are the names that stay as they are."""
    paths = {_shard_of(name) for name in ours}
    states = place.read_many(sorted(state_path(path) for path in paths))
    unknown = {path for path in paths if not is_reused_state(states.get(state_path(path), b""))}
    if unknown and _has_parents(place):
        # A copy of such a data set without the states of its making.
        unknown -= {path for path in unknown if path in whole}
    if unknown:
        raise UserError(
            f"{place} is another data set: it holds {shown_names(sorted(unknown))}, which neither `mmrs merge` nor "
            "`mmrs split` put there. Choose another --out."
        )


def _has_parents(place: Place) -> bool:
    try:
        return bool(load_manifest(place).parents)
    except UserError:
        return False


def _shard_of(name: str) -> str:
    name = name.removeprefix(state_path("")[: -len(".task")])
    for end in (".tar.task", ".done.json", ".parquet", ".tar"):
        name = name.removesuffix(end)
    return f"{name}.tar"


def _bring(
    tasks: Sequence[ReuseTask], place: Place, token: str, workers: int, links: bool, progress: Progress
) -> list[HowReused]:
    # Threads: links, copies with their digests and downloads all run without the interpreter's lock.
    ways: list[HowReused] = []
    total = sum(task.entry.bytes for task in tasks)
    with progress.stage("shards", total, "bytes") as advance, ThreadPoolExecutor(workers) as pool:
        running = {pool.submit(reuse_shard, task, place, token, links): task for task in tasks}
        try:
            for done in as_completed(running):
                ways.append(done.result())
                advance(running[done].entry.bytes)
        finally:
            pool.shutdown(cancel_futures=True)
    return ways


def reuse_shard(task: ReuseTask, place: Place, token: str, links: bool) -> HowReused:
    """Bring one shard to `place`: state, tar, index, and last the done-file. Idempotent, safe to be killed anywhere.

    Raises:
        RunFailure: the shard cannot be read or is not the one that its manifest names, or the run with `token` no
            longer holds the place.
        StorageFailure: the place cannot be written to; names the shard.
    """
    place.check(token)
    # A link leads to nothing where files are sent elsewhere.
    links = links and isinstance(place, LocalPlace)
    state, tar, index, done = task.names
    entry = task.entry
    try:
        with place.staging() as folder:
            for name in task.names:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
            linked = _obtain(task, entry.path, entry.bytes, entry.sha256, folder / tar, links)
            _obtain(task, entry.index_path, entry.index_bytes, entry.index_sha256, folder / index, links)
            (folder / state).write_bytes(task.state)
            (folder / done).write_bytes(task.done)
            place.check(token)
            # Readers go by the done-file: it must not vouch for another tar, not even for a moment.
            place.remove([done])
            place.publish(folder, task.names)
    except OSError as error:
        raise storage_failure(place, error, f"shard {task.path}") from error
    return "linked" if linked else "copied"


def _obtain(task: ReuseTask, name: str, size: int, sha256: str, target: Path, links: bool) -> bool:
    """Have a file of a finished data set at `target`; whether it became a hard link. Raises OSError as writing does."""
    if isinstance(task.location, Path):
        source = task.location / name
        if links and _link(source, target, size):
            return True
        _copy(source, target, _failure(task, name), size, sha256)
        return False
    for _ in range(READINGS):
        with target.open("wb") as file:
            RemoteReader(task.location).download(name, size, file.fileno())
        # An answer that a network damaged is not a damaged file.
        if file_sha256(target) == sha256:
            return False
    raise _failure(task, name)(f"it has another digest than its manifest says, {READINGS} times")


def _failure(task: ReuseTask, name: str) -> Callable[[object], RunFailure]:
    return lambda what: RunFailure(f"{task.location}/{name}: {what}. {see_verify(task.location)}")


def _link(source: Path, target: Path, size: int) -> bool:
    """Whether `target` became a hard link to a plain file of that size."""
    try:
        # What a link of a stranger leads to is copied, and so has its digest looked at.
        if source.is_symlink() or not source.is_file() or source.stat().st_size != size:
            return False
        os.link(source, target, follow_symlinks=False)
    except OSError:
        # Another disk, another owner, or a file system without hard links.
        return False
    return True


def _copy(source: Path, target: Path, failure: Callable[[object], RunFailure], size: int, sha256: str) -> None:
    try:
        descriptor = open_to_read(source)
    except OSError as error:
        raise failure(f"cannot be read: {error.strerror or error}") from error
    digest, left = hashlib.sha256(), size
    with open(descriptor, "rb") as read, target.open("wb") as written:
        while left >= 0 and (chunk := _read(read, min(_CHUNK_BYTES, left + 1), failure)):
            digest.update(chunk)
            left -= len(chunk)
            written.write(chunk)
    if left or digest.hexdigest() != sha256:
        raise failure("it is not the file that its manifest names")


def _read(file: BinaryIO, size: int, failure: Callable[[object], RunFailure]) -> bytes:
    try:
        return file.read(size)
    except OSError as error:
        raise failure(f"cannot be read: {error.strerror or error}") from error
