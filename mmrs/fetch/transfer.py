"""One file from the web to the disk: in a ``.part`` that any later run goes on with, checked before it has its name.

Bytes are appended in order, so that the part's size is all that a resume needs; beside it lies what the server said of
the file (``.part.json``: ETag or date, and size). A resume asks with ``If-Range``: a server whose file has changed
answers with all of the new one, which then begins at byte 0. Where a server says nothing to compare, and the catalogue
knows no sum, a part is never gone on with. Sums are computed in threads of their own while the next bytes come.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmrs.errors import RunFailure, UserError
from mmrs.fetch.http_client import (
    HttpAnswer,
    RefusedAddress,
    RefusedStatus,
    asked_pause,
    open_address,
)
from mmrs.fetch.no_room import NO_ROOM
from mmrs.fetch.remote_file import GIT_BLOB, RemoteFile
from mmrs.storage.atomic import publish_file, write_atomic
from mmrs.storage.download import PASSING_CLIENT_ERRORS
from mmrs.storage.plain_files import open_no_link
from mmrs.storage.protocols.body import SLOWEST_BYTES_PER_SECOND
from mmrs.storage.retry import DEFAULT_PATIENCE, Patience, retried
from mmrs.storage.urls import describe_error, without_secrets
from mmrs.text import bytes_text

PART_SUFFIX = ".part"
_BUFFER_BYTES, _WAITING = 2**20, 16
# Of a file whose size nobody says.
_MOST_BYTES = 2**40
# A try that brought so much is not counted: a large file over a bad line takes many.
_PROGRESS_BYTES = 2**20
_NO_SUCH_RANGE = 416
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


class Cancelled(Exception):
    """The fetch ends; what has come stays for the next one."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that came whole and has all sums that are known. `sha256` is its own."""

    path: Path
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Transfer:
    """How files are transferred.

    Args:
        advance: called with the bytes that came, negative ones where a file begins again.
        cancelled: ends every transfer when it is set.
    """

    advance: Callable[[int], None] = lambda count: None
    patience: Patience = DEFAULT_PATIENCE
    cancelled: threading.Event = field(default_factory=threading.Event)

    def fetch(self, file: RemoteFile, path: Path) -> Fetched:
        """Bring a file to `path`, going on with what an earlier run left.

        Raises:
            RunFailure: it does not come after several tries, has another sum or size, or the disk is full; names the
                file, and says what stays.
            UserError: the server does not have it, or its host is not allowed.
            Cancelled: the fetch was ended.
        """
        part = _Part(path.with_name(path.name + PART_SUFFIX))
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            was_resumed = part.size() > 0
            sums = _Sums({"sha256", *file.digests}, file.size)
            try:
                self._complete(file, part, sums)
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                what, remedy = NO_ROOM[error.errno]
                raise RunFailure(
                    f"{file.name}: {what} {path.parent}; what has come stays in {part.path.name}. {remedy}, and the "
                    "same command goes on."
                ) from error
            found = sums.finish()
            fault = _fault(file, part.size(), found)
            if fault is None:
                break
            self.advance(-part.size())
            part.remove()
            if not was_resumed:
                raise RunFailure(f"{file.name} from {without_secrets(file.address.url)}: {fault}. {file.advice}")
            # What lay there may have been damaged, or of an older file.
        size = part.size()
        publish_file(part.path, path)
        part.remove()
        return Fetched(path, size, found["sha256"])

    def _complete(self, file: RemoteFile, part: _Part, sums: _Sums) -> None:
        """Requests until the part is whole."""
        descriptor = open_no_link(part.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            held = part.usable(file)
            os.ftruncate(descriptor, held)
            # What was read is fed to the sums, so that they are those of the file and not of the transfer.
            sums.feed_file(descriptor, held)
            self.advance(held)
            while not self._tried(file, part, sums, descriptor):
                pass
            os.fsync(descriptor)
        finally:
            sums.pause()
            os.close(descriptor)

    def _tried(self, file: RemoteFile, part: _Part, sums: _Sums, descriptor: int) -> bool:
        """One request with several tries; whether the file is whole now."""

        def request() -> bool:
            before = os.fstat(descriptor).st_size
            try:
                self._request(file, part, sums, descriptor)
            except (OSError, EOFError) as error:
                if isinstance(error, RefusedStatus | RefusedAddress) or _is_own_fault(error):
                    raise
                if os.fstat(descriptor).st_size - before >= _PROGRESS_BYTES:
                    return False
                raise
            return True

        def failure(error: Exception, tried: int, is_last: bool) -> Exception | None:
            where = f"{file.name} from {without_secrets(file.address.url)}"
            if _is_own_fault(error):
                return error
            status = error.status if isinstance(error, RefusedStatus) else 0
            if isinstance(error, PermissionError) or (400 <= status < 500 and status not in PASSING_CLIENT_ERRORS):
                return UserError(f"{where} cannot be fetched: {describe_error(error)}. {file.advice}")
            if not is_last:
                return None
            return RunFailure(
                f"{where} cannot be fetched: {tried} tries failed, the last with {describe_error(error)}. What has "
                "come stays; the same command goes on."
            )

        return retried(request, (OSError, EOFError), self.patience.waits(file.address.url), failure, self._pause)

    def _request(self, file: RemoteFile, part: _Part, sums: _Sums, descriptor: int) -> None:
        held = os.fstat(descriptor).st_size
        if file.size is not None and held == file.size:
            return
        stall_seconds = self.patience.stall_seconds
        address = file.find(file.address, stall_seconds)
        headers = part.range_headers(held)
        try:
            opened = open_address(address, headers, stall_seconds)
        except RefusedStatus as error:
            if error.status != _NO_SUCH_RANGE or not held:
                raise
            if part.stated_size() == held:
                return
            self._begin_again(held, sums, descriptor)
            raise EOFError("the file is shorter than what has come of it: it has changed") from error
        with opened as answer:
            begin, total = _span(answer, held)
            most = file.size if file.size is not None else _MOST_BYTES
            if total is not None and total > most:
                raise RunFailure(
                    f"{file.name}: the server sends {bytes_text(total)}, not the {bytes_text(most)} that were expected."
                )
            if file.size is not None and total is not None and total < file.size:
                raise EOFError(f"the server offers {total:,} of {file.size:,} bytes")
            if begin != held:
                # The file has changed, or the server knows no ranges.
                self._begin_again(held, sums, descriptor)
            part.note(answer, total)
            self._receive(answer, file, most, sums, descriptor)
            end = os.fstat(descriptor).st_size
            if total is not None and end < total:
                raise EOFError(f"the answer ended after {end:,} of {total:,} bytes")

    def _begin_again(self, held: int, sums: _Sums, descriptor: int) -> None:
        sums.restart()
        os.ftruncate(descriptor, 0)
        self.advance(-held)

    def _receive(self, answer: HttpAnswer, file: RemoteFile, most: int, sums: _Sums, descriptor: int) -> None:
        offset = os.fstat(descriptor).st_size
        started, come = time.monotonic(), 0
        while data := answer.read_some(_BUFFER_BYTES):
            if self.cancelled.is_set():
                raise Cancelled
            if offset + len(data) > most:
                raise RunFailure(f"{file.name}: the server sends more than the {bytes_text(most)} that were expected.")
            _write_all(descriptor, memoryview(data), offset)
            sums.feed(data)
            offset += len(data)
            come += len(data)
            self.advance(len(data))
            late_seconds = time.monotonic() - started - self.patience.stall_seconds
            if late_seconds > 0 and come < late_seconds * SLOWEST_BYTES_PER_SECOND:
                raise EOFError(f"too slow, {come:,} bytes in {time.monotonic() - started:.0f} s")

    def _pause(self, seconds: float, error: Exception) -> None:
        if self.cancelled.wait(max(seconds, asked_pause(error))):
            raise Cancelled


def _is_own_fault(error: Exception) -> bool:
    """Whether it is this machine's disk that fails."""
    return isinstance(error, OSError) and error.errno in (*NO_ROOM, errno.EROFS, errno.EIO)


def _fault(file: RemoteFile, size: int, found: Mapping[str, str]) -> str | None:
    """What is wrong with a whole file, None where nothing is known to be."""
    if file.size is not None and size != file.size:
        return f"it has {size:,} bytes, {file.size:,} were expected"
    for algorithm, expected in file.digests.items():
        if found[algorithm] != expected:
            return f"its {algorithm} is {found[algorithm]}, {expected} was expected; nothing of it is kept"
    return None


def _span(answer: HttpAnswer, held: int) -> tuple[int, int | None]:
    """The first byte that an answer brings, and the size of the whole file where the server says it."""
    if answer.status == 200:
        return 0, answer.length
    match = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if answer.status != 206 or match is None or int(match[1]) != held:
        raise EOFError(f"HTTP {answer.status} with another range than bytes {held}- was asked for")
    return held, None if match[3] == "*" else int(match[3])


def _write_all(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


@dataclass(frozen=True, slots=True)
class _Part:
    """What has come of a file, and beside it what its server said."""

    path: Path

    @property
    def _note_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    def size(self) -> int:
        try:
            return self.path.lstat().st_size
        except FileNotFoundError:
            return 0

    def _note(self) -> dict[str, Any]:
        try:
            note = json.loads(self._note_path.read_bytes())
        except (OSError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}

    def stated_size(self) -> int | None:
        """The size of the whole file, as its server said."""
        size = self._note().get("size")
        return size if isinstance(size, int) else None

    def usable(self, file: RemoteFile) -> int:
        """The bytes that can be gone on with: none where nothing would tell that the file has changed meanwhile."""
        held = self.size()
        is_known = bool(file.digests) or bool(self._note().get("validator"))
        return held if is_known and (file.size is None or held <= file.size) else 0

    def range_headers(self, held: int) -> dict[str, str]:
        """The headers that ask for what is missing."""
        if not held:
            return {}
        validator = self._note().get("validator")
        condition = {"If-Range": validator} if isinstance(validator, str) and validator.isascii() else {}
        return {"Range": f"bytes={held}-", **condition}

    def note(self, answer: HttpAnswer, total: int | None) -> None:
        """Keep what the server says of the file. A weak ETag does not promise the same bytes."""
        etag = answer.headers.get("ETag", "")
        validator = etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified", "")
        content = {"validator": validator if validator.isprintable() else "", "size": total}
        if content != self._note():
            write_atomic(self._note_path, json.dumps(content, allow_nan=False).encode())

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note_path.unlink(missing_ok=True)


class _Sums:
    """The sums of bytes as they come, each computed by a thread of its own.

    Args:
        algorithms: names of hashlib, or ``git-blob``, which begins with the file's size.
        size: in bytes, as far as it is known.
    """

    def __init__(self, algorithms: Iterable[str], size: int | None) -> None:
        self._parts = {name: _Sum(name, size) for name in sorted(algorithms)}

    def feed(self, data: bytes) -> None:
        """Add bytes; waits where a sum is far behind."""
        if data:
            for part in self._parts.values():
                part.feed(data)

    def feed_file(self, descriptor: int, size: int) -> None:
        """Add what a file begins with."""
        offset = 0
        while offset < size:
            data = os.pread(descriptor, min(_BUFFER_BYTES, size - offset), offset)
            if not data:
                raise EOFError("the part became shorter while it was read")
            self.feed(data)
            offset += len(data)

    def restart(self) -> None:
        """Forget all bytes."""
        for part in self._parts.values():
            part.pause()
            part.restart()

    def pause(self) -> None:
        """Wait until all that was fed is summed, and let the threads end."""
        for part in self._parts.values():
            part.pause()

    def finish(self) -> dict[str, str]:
        """The sums by algorithm."""
        self.pause()
        return {name: part.value.hexdigest() for name, part in self._parts.items()}


class _Sum:
    """One sum and its thread, which lives from the first bytes to a pause."""

    def __init__(self, algorithm: str, size: int | None) -> None:
        self._algorithm = algorithm
        self._size = size
        self._come: queue.Queue[bytes] = queue.Queue(_WAITING)
        self._thread: threading.Thread | None = None
        self.restart()

    def restart(self) -> None:
        self.value = _new_hash(self._algorithm, self._size)

    def feed(self, data: bytes) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        self._come.put(data)

    def pause(self) -> None:
        if self._thread is not None:
            self._come.put(b"")
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while data := self._come.get():
            self.value.update(data)


def _new_hash(algorithm: str, size: int | None) -> Any:
    if algorithm == GIT_BLOB:
        return hashlib.sha1(b"blob %d\0" % (size or 0), usedforsecurity=False)
    return hashlib.new(algorithm, usedforsecurity=algorithm != "md5")


def remove_transfer(path: Path) -> None:
    """Delete a fetched file and what an unfinished transfer left of it."""
    with suppress(FileNotFoundError):
        path.unlink()
    _Part(path.with_name(path.name + PART_SUFFIX)).remove()
