"""Plain ustar archives whose bytes depend on names and contents alone.

Every header has mtime, uid and gid 0, mode 0644 and no owner names, so equal members give equal archives. The archive
ends with two zero blocks, padded to the 10,240-byte record that tar readers expect.

By hand rather than by `tarfile` or `webdataset.ShardWriter`: a header takes 0.8 µs instead of `TarInfo.tobuf`'s 35, the
digest comes with the writing, and neither library tells where a member's data lies, which the index needs. Figures:
benchmarks/results/2026-11-30-by-hand.json.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from dataclasses import dataclass
from typing import BinaryIO

BLOCK = tarfile.BLOCKSIZE
MEMBER_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[1-9][0-9]?)?\.[a-z0-9]+")
# A header as tarfile writes it, cut where name, size and checksum go; its checksum counts those 8 bytes as blanks.
_HEADER = tarfile.TarInfo().tobuf(format=tarfile.USTAR_FORMAT)
_NAME_BYTES, _SIZE_AT, _SIZE_DIGITS, _CHECKSUM_AT = 100, 124, 11, 148
_BEFORE_SIZE = _HEADER[_NAME_BYTES:_SIZE_AT]
_BEFORE_CHECKSUM = _HEADER[_SIZE_AT + _SIZE_DIGITS : _CHECKSUM_AT]
_AFTER_CHECKSUM = _HEADER[_CHECKSUM_AT + 8 :]
_BYTES_AT_ONCE = 2**20
_CHECKSUM_BASE = sum(_BEFORE_SIZE) + sum(_BEFORE_CHECKSUM) + sum(_AFTER_CHECKSUM) + 8 * ord(" ")


@dataclass(frozen=True, slots=True)
class Member:
    """Where a member's data lies in the archive: `offset` and `size` in bytes, header excluded."""

    name: str
    offset: int
    size: int


def image_member(key: str, number: int, suffix: str) -> str:
    """The name of a sample's image: ``KEY.jpg``, of the numbered further ones ``KEY.1.jpg``: readers join them."""
    return f"{key}.{number}.{suffix}" if number else f"{key}.{suffix}"


def member_header(name: str, size: int) -> bytes:
    """The 512 bytes before a member's data: what `tarfile` writes.

    Raises:
        ValueError: more than ustar can say (100 characters of name, 8 GiB).
    """
    encoded, digits = name.encode("ascii"), b"%011o" % size
    if len(encoded) > _NAME_BYTES or len(digits) > _SIZE_DIGITS:
        raise ValueError(f"member {name!r} of {size} bytes does not fit a ustar header")
    checksum = b"%06o\0 " % (_CHECKSUM_BASE + sum(encoded) + sum(digits))
    parts = (encoded.ljust(_NAME_BYTES, b"\0"), _BEFORE_SIZE, digits, _BEFORE_CHECKSUM, checksum, _AFTER_CHECKSUM)
    return b"".join(parts)


class MemberWriter:
    """Appends members to a binary file: a piece of an archive, whose offsets count from its own start."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._position = 0

    @property
    def bytes_written(self) -> int:
        return self._position

    def add(self, name: str, data: bytes) -> Member:
        """Append one member.

        Raises:
            ValueError: the name would not survive WebDataset readers, which split at the first dot.
        """
        if not MEMBER_NAME.fullmatch(name):
            raise ValueError(f"member name {name!r} does not match {MEMBER_NAME.pattern}")
        self._write(member_header(name, len(data)))
        member = Member(name, self._position, len(data))
        self._write(data)
        self._write(b"\0" * (-len(data) % BLOCK))
        return member

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._position += len(data)


class TarWriter(MemberWriter):
    """Appends members to a binary file and digests the archive in the same pass."""

    def __init__(self, file: BinaryIO):
        super().__init__(file)
        self._digest = hashlib.sha256()

    def append(self, members: BinaryIO) -> int:
        """Append what a `MemberWriter` wrote; returns where it begins, which its offsets are to be moved by."""
        start = self._position
        while data := members.read(_BYTES_AT_ONCE):
            self._write(data)
        return start

    def flush(self) -> None:
        """Hand what the file holds back to the system."""
        self._file.flush()

    def finish(self) -> str:
        """Write the end of the archive and return the sha256 of all bytes."""
        self._write(b"\0" * (2 * BLOCK))
        self._write(b"\0" * (-self._position % tarfile.RECORDSIZE))
        return self._digest.hexdigest()

    def _write(self, data: bytes) -> None:
        super()._write(data)
        self._digest.update(data)
