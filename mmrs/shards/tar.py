"""Plain ustar archives whose bytes depend on names and contents alone.

Every header has mtime, uid and gid 0, mode 0644 and no owner names, so equal members give equal archives. The archive
ends with two zero blocks, padded to the 10,240-byte record that tar readers expect.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from dataclasses import dataclass
from typing import BinaryIO

BLOCK = tarfile.BLOCKSIZE
MEMBER_NAME = re.compile(r"[A-Za-z0-9_-]+\.[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Member:
    """Where a member's data lies in the archive: `offset` and `size` in bytes, header excluded."""

    name: str
    offset: int
    size: int


class TarWriter:
    """Appends members to a binary file and digests the archive in the same pass."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._digest = hashlib.sha256()
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
        info = tarfile.TarInfo(name)
        info.size = len(data)
        self._write(info.tobuf(format=tarfile.USTAR_FORMAT))
        member = Member(name, self._position, len(data))
        self._write(data)
        self._write(b"\0" * (-len(data) % BLOCK))
        return member

    def finish(self) -> str:
        """Write the end of the archive and return the sha256 of all bytes."""
        self._write(b"\0" * (2 * BLOCK))
        self._write(b"\0" * (-self._position % tarfile.RECORDSIZE))
        return self._digest.hexdigest()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self._position += len(data)
