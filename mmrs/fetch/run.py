"""A fetch: plan -> terms -> space -> files, several at a time -> their places -> record. Stopped, it goes on.

Each file is a unit of its own: downloaded, checked, pinned, placed, recorded. What fails costs its own source alone;
the others go on, and the command says at its end what failed.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmrs.errors import RunFailure, UserError
from mmrs.fetch.archives.volumes import ArchiveVolumes, archive_kind, find_archives
from mmrs.fetch.placing import PlacedFile, Placing
from mmrs.fetch.plan import FetchPlan, PartPlan, SourcePlan
from mmrs.fetch.record import LOCK_FILE, FetchRecord
from mmrs.fetch.remote_file import RemoteFile
from mmrs.fetch.services.listing import part_name
from mmrs.fetch.transfer import Cancelled, Fetched, Transfer, remove_transfer
from mmrs.progress import Progress
from mmrs.storage.atomic import file_sha256, publish_file
from mmrs.storage.retry import DEFAULT_PATIENCE, Patience
from mmrs.text import bytes_text

_MEBIBYTE = 2**20
# For the file system's own lists, and for whoever shares the disk.
_SPARE_BYTES = 256 * _MEBIBYTE


@dataclass(frozen=True, slots=True)
class FetchConfig:
    """How a fetch runs. `accept`: the terms of all sources of the plan are taken."""

    accept: bool = False
    keep_archives: bool = False
    parallel: int = 4
    patience: Patience = DEFAULT_PATIENCE


@dataclass(slots=True)
class FetchOutcome:
    """What became of a plan: source -> what failed, in sentences."""

    failures: dict[str, list[str]] = field(default_factory=dict)
    fetched_files: int = 0
    fetched_bytes: int = 0

    def describe_failures(self) -> str:
        """The failures, a line each, and what to do."""
        lines = [f"{name}: {fault}" for name, faults in self.failures.items() for fault in faults]
        return "\n".join([*lines, "All else is there. The same command goes on with what is missing."])


def run_fetch(plan: FetchPlan, record: FetchRecord, config: FetchConfig, progress: Progress) -> FetchOutcome:
    """Fetch all files of a plan and place them. The caller holds the record.

    Raises:
        UserError: terms that were not accepted, or too little disk space.
    """
    check_terms(plan, record, config)
    _check_space(plan, config)
    outcome = FetchOutcome(failures={source.request.name: list(source.faults) for source in plan.sources})
    total = plan.download_bytes // _MEBIBYTE
    with progress.stage("fetch", max(total, 1), "MiB") as steps:
        transfer = Transfer(_in_mebibytes(steps), config.patience)
        with _pool(config.parallel, transfer.cancelled) as pool:
            jobs = [
                (source, file, pool.submit(_fetch_one, source.request.name, file, record, config, transfer))
                for source in plan.sources
                for file in source.files
            ]
            for source, file, job in jobs:
                _take(source.request.name, file, job, outcome, progress)
    for source in plan.sources:
        for part in source.parts:
            _note_part(source, part, record)
        outcome.failures[source.request.name] += _unpack_by_hand(source, record, progress)
    outcome.failures = {name: faults for name, faults in outcome.failures.items() if faults}
    return outcome


def check_terms(plan: FetchPlan, record: FetchRecord, config: FetchConfig) -> None:
    """Remember the terms that the user takes, once per data folder.

    Raises:
        UserError: some were not accepted, neither now nor before; names them.
    """
    wanted = {source.request.name: source.request.terms for source in plan.sources if source.files}
    known = record.accepted()
    new = {name: terms for name, terms in wanted.items() if known.get(name) != terms}
    if new and not config.accept:
        listed = "\n".join(f"  {name}: {terms}" for name, terms in new.items())
        raise UserError(
            f"these terms have to be accepted before anything is fetched:\n{listed}\nAdd --accept to take them; it is "
            f"remembered in {record.data}."
        )
    if new:
        record.accept(new)


def _check_space(plan: FetchPlan, config: FetchConfig) -> None:
    needed = plan.needed_bytes(config.keep_archives, config.parallel)
    free = shutil.disk_usage(plan.data).free
    if plan.files and needed + _SPARE_BYTES > free:
        raise UserError(
            f"{plan.data} has {bytes_text(free)} free, and the plan needs about {bytes_text(needed)}. Make room, fetch "
            "fewer sources at a time, or give another folder with --to."
        )


@contextmanager
def _pool(parallel: int, cancelled: threading.Event) -> Iterator[ThreadPoolExecutor]:
    """Threads that end soon when the block is left by an error or a signal."""
    with ThreadPoolExecutor(parallel) as pool:
        try:
            yield pool
        except BaseException:
            cancelled.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _in_mebibytes(steps):
    """Counts bytes, which several threads report, and advances by whole MiB; never back."""
    guard = threading.Lock()
    come = shown = 0

    def advance(count: int) -> None:
        nonlocal come, shown
        with guard:
            come += count
            new = come // _MEBIBYTE - shown
            if new > 0:
                shown += new
                steps(new)

    return advance


def _take(name: str, file: RemoteFile, job: Future[Fetched], outcome: FetchOutcome, progress: Progress) -> None:
    try:
        fetched = job.result()
    except (RunFailure, UserError) as error:
        outcome.failures[name].append(str(error))
        progress.note(f"{name}: {error}")
        return
    outcome.fetched_files += 1
    outcome.fetched_bytes += fetched.size
    progress.line(f"{name}: {file.name} is there, {bytes_text(fetched.size)}")


def _fetch_one(name: str, file: RemoteFile, record: FetchRecord, config: FetchConfig, transfer: Transfer) -> Fetched:
    fetched = _kept(name, file, record) or transfer.fetch(
        _with_pin(name, file, record), record.download_path(name, file.name)
    )
    if transfer.cancelled.is_set():
        raise Cancelled
    if not file.tree:
        record.pin(name, file.name, fetched.sha256, fetched.size)
    placed = _place(name, file, fetched, record, config)
    record.add_file(name, file.name, fetched.sha256, fetched.size, placed)
    return fetched


def _with_pin(name: str, file: RemoteFile, record: FetchRecord) -> RemoteFile:
    """The file with the sum of its first fetch among those that are compared."""
    pin = record.pins(name).files.get(file.name)
    if pin is None or file.tree:
        return file
    advice = (
        f"Its sum at the first fetch, {pin.first_fetched}, stands in {record.data / LOCK_FILE}: where the new file is "
        f"wanted, remove {file.name!r} of {name} there. {file.advice}"
    )
    return replace(file, digests={"sha256": pin.sha256, **file.digests}, advice=advice)


def _kept(name: str, file: RemoteFile, record: FetchRecord) -> Fetched | None:
    """An archive that was kept, where it is the one that was fetched."""
    path, known = record.kept_path(name, file.name), record.source(name).files.get(file.name)
    if known is None or not path.is_file() or path.is_symlink() or file_sha256(path) != known.sha256:
        return None
    return Fetched(path, known.size, known.sha256)


def _place(
    name: str, file: RemoteFile, fetched: Fetched, record: FetchRecord, config: FetchConfig
) -> tuple[PlacedFile, ...]:
    placing = Placing(record.data / name, record.state)
    archive = ArchiveVolumes((fetched.path,))
    if not file.unpack or archive_kind(archive) is None:
        if file.tree:
            raise RunFailure(f"{file.name} is no archive, but one was expected. Fetch it again.")
        return placing.place(fetched.path, file.to, file.name)
    placed = placing.unpack(archive, file.to, file.tree)
    kept = record.kept_path(name, file.name)
    if config.keep_archives and fetched.path != kept:
        publish_file(fetched.path, kept)
    elif not config.keep_archives:
        remove_transfer(fetched.path)
    return placed


def _note_part(source: SourcePlan, part: PartPlan, record: FetchRecord) -> None:
    name = source.request.name
    if part.names and all(record.holds(name, file) for file in part.names):
        record.add_part(name, part.part, part.names)
    for revision in {file.revision for file in part.files}:
        record.pin_revision(name, part_name(part.part), revision)


def _unpack_by_hand(source: SourcePlan, record: FetchRecord, progress: Progress) -> list[str]:
    """Unpack what a person put into the folder of a manual source; the archives are moved aside, never deleted."""
    name = source.request.name
    folder = record.data / name
    if not source.request.download.manual or not folder.is_dir():
        return []
    failures = []
    try:
        archives: Sequence[ArchiveVolumes] = find_archives(path for path in folder.iterdir() if path.is_file())
    except UserError as error:
        return [str(error)]
    for archive in archives:
        try:
            placed = Placing(folder, record.state).unpack(archive, "")
        except (RunFailure, UserError) as error:
            failures.append(str(error))
            continue
        for path in archive.paths:
            _move_aside(path, record.kept_path(name, path.name))
        progress.line(f"{name}: {archive.name} unpacked, {len(placed)} files; it lies in {record.kept_path(name, '')}")
    return failures


def _move_aside(path: Path, kept: Path) -> None:
    if os.path.lexists(kept):
        return
    publish_file(path, kept)
