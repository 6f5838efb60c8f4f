"""One shard from task to place: what engines run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from mmrs.builder.shard import ShardResult, ShardTask, build_shard
from mmrs.builder.state import StoredState, state_path
from mmrs.errors import RunFailure, StorageFailure
from mmrs.shards.manifest import done_path, index_path
from mmrs.storage.place import Place


def publish_shard(task: ShardTask, place: Place, token: str) -> ShardResult:
    """Build a shard aside, then bring it to `place`.

    Idempotent, and safe to be killed anywhere: a shard without a done-file does not exist for readers.

    Raises:
        RunFailure: the build with `token` no longer holds the place, or this machine does not see it or the source.
        StorageFailure: the place cannot be written to; names the shard.
    """
    check_machine(task, place, token)
    state = StoredState.of(task)
    with failures_of_storage(task, place), place.staging() as folder:
        result = build_shard(task, folder)
        bring(task, state, result, folder, place, token)
    return result


def check_machine(task: ShardTask, place: Place, token: str) -> None:
    """Make sure that this machine sees the place and the source. Raises `RunFailure`."""
    place.check(token)
    if not task.root.exists():
        raise RunFailure(
            f"{os.uname().nodename} does not see {task.root}, where {task.source.name} lies; every machine of the "
            "build needs the sources under the same path."
        )


def bring(task: ShardTask, state: StoredState, result: ShardResult, folder: Path, place: Place, token: str) -> None:
    """Bring a shard that is built in `folder` to `place`: state, tar, index, and last the done-file.

    The state comes first: by it the next build knows that the others are ours, wherever this one is killed.
    """
    done = orjson.dumps(result.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
    for name, content in ((state_path(task.path), state.to_json()), (done_path(task.path), done)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    files = names_of_files(task) if result.records else ()
    names = (state_path(task.path), *files, done_path(task.path))
    place.check(token)
    # Readers go by the done-file: it must not vouch for a tar of another task, not even for a moment.
    place.remove([done_path(task.path)] if result.records else [done_path(task.path), *names_of_files(task)])
    place.publish(folder, names)


@contextmanager
def failures_of_storage(task: ShardTask, place: Place) -> Iterator[None]:
    """Whatever a read or write of the place fails with, as the user should see it."""
    try:
        yield
    except OSError as error:
        raise storage_failure(place, error, f"shard {task.path}") from error


def names_of_files(task: ShardTask) -> tuple[str, str]:
    """Tar and index of a task's shard."""
    return task.path, index_path(task.path)


def storage_failure(place: Place, error: OSError, what: str) -> StorageFailure:
    """A failed read or write as the user should see it."""
    return StorageFailure(
        f"{what} could not be written to {place}: {error}. Mend that (free space, permissions, network) and run the "
        "same command again; what is finished is kept."
    )
