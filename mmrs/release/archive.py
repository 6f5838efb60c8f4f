"""The release as a list of files, read from the parts of its archive or from a folder where it was unpacked."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmrs.errors import RunFailure, UserError
from mmrs.release.parts import PART_NAME, JoinedParts, Limits, find_parts
from mmrs.storage.plain_files import plain_member_path

ROOT = "data"
_CHUNK_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the release lies: parts in order, or one folder that holds (or is) ``data/``."""

    kind: Literal["archive", "folder"]
    paths: tuple[Path, ...]
    notes: tuple[str, ...] = ()

    def total_bytes(self) -> int:
        """Size of the parts in bytes; 0 for a folder, which is not measured beforehand."""
        return sum(path.stat().st_size for path in self.paths) if self.kind == "archive" else 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: `path` below the archive's root with forward slashes, `size` in bytes, and its content in pieces.

    `chunks` must be taken before the next entry is asked for.
    """

    path: str
    size: int
    chunks: Callable[[], Iterator[bytes]]


def find_origin(source: Path) -> Origin:
    """The archive or unpacked folder that `source` means: a part, a folder of parts, or a folder with ``data/json``.

    A folder that has both is read from its parts: unpacking only the first part leaves a folder that looks whole.

    Raises:
        UserError: nothing of the release there; says what was looked for.
    """
    if source.is_file():
        if not PART_NAME.fullmatch(source.name):
            raise UserError(f"{source} is no part of the archive; name data.tar.gz.0, or the folder with all parts.")
        return Origin("archive", find_parts(source.parent))
    if not source.is_dir():
        raise UserError(f"{source} does not exist; name the folder with data.tar.gz.0 ... or with data/json.")
    parts = find_parts(source)
    folder = next((path for path in (source / ROOT, source) if (path / "json").is_dir()), None)
    if parts:
        notes = (f"both parts and {folder} are there; the parts were read",) if folder else ()
        return Origin("archive", parts, notes)
    if folder is None:
        found = ", ".join(sorted(path.name for path in source.iterdir())[:8]) or "nothing"
        raise UserError(
            f"{source} holds no release: neither data.tar.gz.0 ... nor data/json. Found: {found}. "
            "Name the folder with the downloaded parts."
        )
    return Origin("folder", (folder,))


def entries(origin: Origin, limits: Limits, advance: Callable[[int], None]) -> Iterator[Entry]:
    """Every file of the release, in the archive's order, or sorted by path for a folder.

    Args:
        origin: from `find_origin`.
        limits: see `Limits`.
        advance: called with the bytes just read (compressed ones for an archive).

    Raises:
        RunFailure: damaged, truncated or hostile archive: a member with an absolute path or ``..``, a link, a device,
            a path that occurs twice, or a limit passed. A link inside a folder is refused likewise.
    """
    seen: set[str] = set()
    listed = _tar_entries(origin, limits, advance) if origin.kind == "archive" else _folder_entries(origin, advance)
    for number, entry in enumerate(listed):
        if number >= limits.members:
            raise RunFailure(f"more than {limits.members:,} members; that is no MMRS-1M.")
        if entry.size > limits.member_bytes:
            raise RunFailure(f"member {entry.path!r} has {entry.size:,} bytes; the limit is {limits.member_bytes:,}.")
        if entry.path in seen:
            raise RunFailure(f"member {entry.path!r} occurs twice; which one counts is unknown, so none is taken.")
        seen.add(entry.path)
        yield entry


@contextmanager
def _opened(origin: Origin, limits: Limits, advance: Callable[[int], None]) -> Iterator[JoinedParts]:
    stream = JoinedParts(origin.paths, limits, advance)
    try:
        yield stream
    except tarfile.TarError as error:
        raise RunFailure(
            f"{stream.where()}: damaged tar header at byte {stream.tell():,}: {error}{stream.odd_sizes('; ')}."
        ) from error
    except RecursionError as error:
        raise RunFailure(f"{stream.where()}: endless chain of extended headers at byte {stream.tell():,}.") from error
    finally:
        stream.close()


def _tar_entries(origin: Origin, limits: Limits, advance: Callable[[int], None]) -> Iterator[Entry]:
    with _opened(origin, limits, advance) as stream:
        tar = tarfile.TarFile(fileobj=stream, mode="r")  # type: ignore[arg-type]
        count = 0
        while (member := tar.next()) is not None:
            # The list would grow by one header object per file of a million.
            tar.members = []  # type: ignore[attr-defined]
            count += 1
            if count > limits.members:
                raise RunFailure(f"more than {limits.members:,} members; that is no MMRS-1M.")
            if member.isdir():
                continue
            path = plain_member_path(member.name)
            if not member.isreg() or member.issparse():
                kind = "a link, a device or a sparse file"
                raise RunFailure(f"member {member.name!r} is {kind}; the archive is refused.")
            yield Entry(path, member.size, lambda member=member: _data(stream, member))  # type: ignore[misc]
        ended = stream.last_read == bytes(tarfile.BLOCKSIZE)
        # Reading on checks the checksum: a damaged stream must not be taken for a tar that was cut before packing.
        while stream.read(_CHUNK_BYTES):
            pass
        if not ended:
            raise RunFailure(f"{stream.where()}: the tar stops without its end mark; it was cut before it was packed.")


def _data(stream: JoinedParts, member: tarfile.TarInfo) -> Iterator[bytes]:
    left = member.size
    while left:
        data = stream.read(min(_CHUNK_BYTES, left))
        if not data:
            raise RunFailure(f"{stream.where()}: the stream ends inside member {member.name!r}.")
        left -= len(data)
        yield data


def _folder_entries(origin: Origin, advance: Callable[[int], None]) -> Iterator[Entry]:
    (folder,) = origin.paths
    for path in _walk(folder):
        yield Entry(
            f"{ROOT}/{path.relative_to(folder).as_posix()}",
            path.stat().st_size,
            lambda path=path: _file_data(path, advance),  # type: ignore[misc]
        )


def _walk(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as found:
        children = sorted(found, key=lambda entry: entry.name)
    for child in children:
        if child.is_symlink() or not (child.is_dir() or child.is_file()):
            raise RunFailure(f"{child.path} is a link or a device; replace it with its target, a plain file.")
        if child.is_dir():
            yield from _walk(Path(child.path))
        else:
            yield Path(child.path)


def _file_data(path: Path, advance: Callable[[int], None]) -> Iterator[bytes]:
    with path.open("rb") as file:
        while data := file.read(_CHUNK_BYTES):
            advance(len(data))
            yield data
