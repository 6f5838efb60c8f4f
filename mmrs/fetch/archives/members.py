"""The files in a zip or tar, one after the other, as a stream. Nothing is written here, and no link is ever made.

`zipfile` and `tarfile` read the formats; `extractall` of either is not used: its filters let archives make links, know
no bound on bytes, and write as they go.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from mmrs.errors import RunFailure
from mmrs.fetch.archives.limits import Tally
from mmrs.fetch.archives.volumes import ArchiveKind, ArchiveVolumes
from mmrs.storage.plain_files import plain_member_path

_PIECE_BYTES = 2**18
# Of headers; larger single reads are asked for by forged ones alone.
_MOST_READ_BYTES = 2**20
_MADE_BY_TOOLS = "a kind of packing that Python does not read"


class NeedsTool(Exception):
    """The archive is sound as far as is known, and another program has to unpack it."""


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """A file of an archive: `path` below its root, `size` in bytes, and its content in pieces, to be taken at once."""

    path: str
    size: int
    pieces: Callable[[], Iterator[bytes]]


def archive_members(
    archive: ArchiveVolumes, kind: ArchiveKind, tally: Tally, is_wanted: Callable[[str], bool]
) -> Iterator[ArchiveMember]:
    """Every file of an archive for whose path `is_wanted`, in the archive's order.

    Raises:
        NeedsTool: `kind` is read by no library that we use.
        Exception: a damaged archive, see `explained_damage`.
        RunFailure: a hostile one: a member with an absolute path or ``..``, a link, a device, a
            path that occurs twice, or a limit passed.
    """
    readers = {"zip": _zip_members, "tar": _tar_members, "gzip": _tar_members, "bzip2": _tar_members}
    if kind not in readers or not archive.are_slices:
        raise NeedsTool(kind)
    seen: set[str] = set()
    for member in readers[kind](archive, kind, tally):
        if member.path in seen:
            raise RunFailure(f"{archive.name}: {member.path!r} occurs twice; which one counts is unknown.")
        seen.add(member.path)
        if is_wanted(member.path):
            yield member


@contextmanager
def explained_damage(name: str) -> Iterator[None]:
    """What the libraries raise of a damaged archive, while members are listed and read, as RunFailure or NeedsTool."""
    try:
        yield
    except NotImplementedError as error:
        raise NeedsTool(_MADE_BY_TOOLS) from error
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        UnicodeError,
        ValueError,
        OverflowError,
        RecursionError,
    ) as error:
        raise RunFailure(f"{name} is damaged: {type(error).__name__}: {str(error)[:200]}. Fetch it again.") from error
    except OSError as error:
        # The libraries' own errors of a damaged stream are of this kind, without a number of the system.
        if error.errno is not None:
            raise
        raise RunFailure(f"{name} is damaged: {str(error)[:200]}. Fetch it again.") from error
    except RuntimeError as error:
        if "password" not in str(error) and "encrypted" not in str(error):
            raise
        raise RunFailure(f"{name} is protected by a password; unpack it by hand.") from error


def _zip_members(archive: ArchiveVolumes, kind: ArchiveKind, tally: Tally) -> Iterator[ArchiveMember]:
    with archive.open() as file, zipfile.ZipFile(file) as opened:
        for info in opened.infolist():
            mode = info.external_attr >> 16
            tally.count_member(info.filename, info.file_size)
            path = plain_member_path(info.filename)
            if info.is_dir():
                continue
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise _no_plain_file(archive.name, info.filename)
            yield ArchiveMember(
                path,
                info.file_size,
                lambda info=info: _zip_pieces(opened, info, tally),  # type: ignore[misc]
            )


def _zip_pieces(opened: zipfile.ZipFile, info: zipfile.ZipInfo, tally: Tally) -> Iterator[bytes]:
    with opened.open(info) as content:
        while piece := content.read(_PIECE_BYTES):
            tally.count_bytes(len(piece))
            yield piece


def _tar_members(archive: ArchiveVolumes, kind: ArchiveKind, tally: Tally) -> Iterator[ArchiveMember]:
    with archive.open() as file:
        stream = _Forward(_inflated(file, kind), archive.name, tally)
        opened = tarfile.TarFile(fileobj=stream, mode="r")  # type: ignore[arg-type]
        while (info := opened.next()) is not None:
            # The list would grow by one header object per file of a million.
            opened.members = []  # type: ignore[attr-defined]
            tally.count_member(info.name, info.size)
            if info.isdir():
                continue
            if info.type == tarfile.XGLTYPE:
                continue
            if not info.isreg() or info.issparse():
                raise _no_plain_file(archive.name, info.name)
            yield ArchiveMember(
                plain_member_path(info.name),
                info.size,
                lambda info=info: _tar_pieces(stream, info),  # type: ignore[misc]
            )
        # Reading on checks the checksum: a damaged stream must not be taken for a tar that was cut.
        ended = stream.last_read == bytes(tarfile.BLOCKSIZE)
        while stream.read(_PIECE_BYTES):
            pass
        if not ended:
            raise RunFailure(f"{archive.name}: the tar stops without its end mark; it is cut. Fetch it again.")


def _tar_pieces(stream: _Forward, info: tarfile.TarInfo) -> Iterator[bytes]:
    left = info.size
    while left:
        piece = stream.read(min(_PIECE_BYTES, left))
        if not piece:
            raise EOFError(f"the stream ends inside {info.name!r}")
        left -= len(piece)
        yield piece


def _inflated(file: IO[bytes], kind: ArchiveKind) -> IO[bytes]:
    if kind == "gzip":
        return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]
    return bz2.BZ2File(file) if kind == "bzip2" else file  # type: ignore[return-value]


def _no_plain_file(archive: str, name: str) -> RunFailure:
    return RunFailure(f"{archive}: {name[:120]!r} is a link, a device or a sparse file; the archive is not unpacked.")


class _Forward:
    """A stream as tarfile reads it: it never goes back, reads no large piece at once, and counts."""

    def __init__(self, file: IO[bytes], name: str, tally: Tally) -> None:
        self._file = file
        self._name = name
        self._tally = tally
        self._position = 0
        self.last_read = b""

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence != 0 or offset < self._position:
            raise RunFailure(f"{self._name}: the archive's headers point backwards; it is damaged or forged.")
        while self._position < offset and self.read(min(_MOST_READ_BYTES, offset - self._position)):
            pass
        return self._position

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MOST_READ_BYTES:
            raise RunFailure(f"{self._name}: a header asks for {size} bytes; the archive is damaged or forged.")
        data: Any = self._file.read(size)
        self._position += len(data)
        self._tally.count_bytes(len(data))
        self.last_read = data
        return bytes(data)
