"""The files that make one archive, and what kind of archive it is by its first bytes.

Volumes are of two sorts. *Slices* (``x.zip.001``, ``x.tar.gz.0``, ``x.tar.gz.aa``) are one archive cut anywhere, and
are read as one file here. The others (``x.part1.rar``, ``x.z01`` beside ``x.zip``) are known to their own tools.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmrs.errors import UserError
from mmrs.storage.plain_files import open_to_read

ArchiveKind = Literal["zip", "tar", "gzip", "bzip2", "xz", "rar", "7z"]
_MAGIC: tuple[tuple[int, bytes, ArchiveKind], ...] = (
    (0, b"PK\x03\x04", "zip"),
    (0, b"PK\x05\x06", "zip"),
    (0, b"PK\x07\x08PK\x03\x04", "zip"),
    (0, b"\x1f\x8b\x08", "gzip"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\x00", "xz"),
    (0, b"Rar!\x1a\x07", "rar"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (257, b"ustar", "tar"),
)
_HEAD_BYTES = 262
_SLICE = re.compile(r"(?P<base>.+\.(?:zip|7z|rar|tar|tgz|tar\.(?:gz|bz2|xz)))[._](?P<number>\d{1,4}|[a-z]{2})")
_RAR_PART = re.compile(r"(?P<base>.+)\.part(?P<number>\d{1,4})\.rar")
_OLD_VOLUME = re.compile(r"(?P<base>.+)\.[zr]\d\d")
ARCHIVE_NAME = re.compile(r".+\.(?:zip|rar|7z|tar|tgz|tbz2|tar\.(?:gz|bz2|xz))", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ArchiveVolumes:
    """One archive: its files in order. `are_slices`: they are one file, cut anywhere."""

    paths: tuple[Path, ...]
    are_slices: bool = True

    @property
    def name(self) -> str:
        return self.paths[0].name

    def size(self) -> int:
        """Bytes of all volumes."""
        return sum(path.stat().st_size for path in self.paths)

    def open(self) -> io.BufferedReader:
        """The archive as one file, to read and seek."""
        return io.BufferedReader(_Joined(self.paths), 2**18)


def find_archives(paths: Iterable[Path]) -> tuple[ArchiveVolumes, ...]:
    """The archives among files of one folder, volumes put together; sorted by name.

    Raises:
        UserError: a volume in the middle is missing; names it.
    """
    by_name = {path.name: path for path in sorted(paths)}
    slices: dict[str, dict[str, Path]] = {}
    parts: dict[str, dict[str, Path]] = {}
    volumes: dict[str, list[Path]] = {}
    whole: list[Path] = []
    for name, path in by_name.items():
        lower = name.lower()
        if match := _SLICE.fullmatch(lower):
            slices.setdefault(match["base"], {})[match["number"]] = path
        elif match := _RAR_PART.fullmatch(lower):
            parts.setdefault(match["base"], {})[match["number"]] = path
        elif match := _OLD_VOLUME.fullmatch(lower):
            volumes.setdefault(match["base"], []).append(path)
        elif ARCHIVE_NAME.fullmatch(lower):
            whole.append(path)
    found = [ArchiveVolumes(_in_order(base, numbered)) for base, numbered in slices.items()]
    found += [ArchiveVolumes(_in_order(base, numbered), are_slices=False) for base, numbered in parts.items()]
    for path in whole:
        later = volumes.get(path.name.lower().rpartition(".")[0], [])
        found.append(ArchiveVolumes((path, *later), are_slices=not later))
    return tuple(sorted(found, key=lambda archive: archive.name))


def _in_order(base: str, numbered: dict[str, Path]) -> tuple[Path, ...]:
    if all(number.isdigit() for number in numbered):
        by_number = {int(number): path for number, path in numbered.items()}
        first = min(by_number)
        missing = [number for number in range(min(first, 1), max(by_number)) if number not in by_number]
        if missing:
            raise UserError(
                f"{base}: volume {missing[0]} is missing beside {numbered[max(numbered)].name}; all volumes are needed."
            )
        return tuple(by_number[number] for number in sorted(by_number))
    return tuple(numbered[letters] for letters in sorted(numbered))


def archive_kind(archive: ArchiveVolumes) -> ArchiveKind | None:
    """What kind of archive it is, None for another file. The name says nothing: shared files are renamed."""
    with archive.open() as file:
        head = file.read(_HEAD_BYTES)
    return next((kind for start, magic, kind in _MAGIC if head[start : start + len(magic)] == magic), None)


class _Joined(io.RawIOBase):
    """Several files as one."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files = [io.FileIO(open_to_read(path)) for path in paths]
        self._starts = [0]
        for file in self._files:
            self._starts.append(self._starts[-1] + os.fstat(file.fileno()).st_size)
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._starts[-1]}[whence]
        if base + offset < 0:
            raise OSError(f"position {base + offset} before the beginning")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        for file, start, end in zip(self._files, self._starts, self._starts[1:], strict=False):
            if start <= self._position < end:
                file.seek(self._position - start)
                count = file.readinto(memoryview(buffer)[: end - self._position])
                self._position += count or 0
                return count or 0
        return 0

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()
