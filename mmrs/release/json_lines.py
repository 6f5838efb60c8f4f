"""A JSON array file as rows of exact bytes: joined again, ``before + raw`` of all rows is the file.

Boundaries are found by brackets and strings alone, so a row whose inside is no sound JSON still keeps its bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

# The longest row of the official archive has some thousand; what is made of a row takes fourteen times its bytes.
MAX_ROW_BYTES = 16 << 20
_CHUNK = 1 << 20
_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n"
# A string (closed or cut off by the end of the buffer: then group 1 is unset), or a mark of structure.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+(")?|[\[\]{},]', re.DOTALL)


class NoArray(ValueError):
    """The file is not one JSON array; says where and why. Such a file is kept whole instead of in rows."""


@dataclass(frozen=True, slots=True)
class RawRow:
    """`before`: the bytes since the previous row (mark, bracket, comma, blanks); `raw`: the row itself.

    The last one of a file has ``raw=None``; its `before` is what follows the last row.
    """

    before: bytes
    raw: bytes | None


def read_rows(file: BinaryIO, max_row_bytes: int = MAX_ROW_BYTES, chunk: int = _CHUNK) -> Iterator[RawRow]:
    """Rows of one JSON array, read in pieces; at most two rows and two pieces are in memory.

    Raises:
        NoArray: no array at the top, an empty place between commas, unbalanced brackets, a row beyond `max_row_bytes`,
            or anything but blanks after the array.
    """
    scanner = _Scanner(file, max_row_bytes, chunk)
    before = scanner.opening()
    while True:
        segment, mark = scanner.segment()
        raw = segment.strip(_BLANK)
        if not raw:
            if mark == b"]" and scanner.rows == 0:
                yield RawRow(before + segment + mark + scanner.rest(), None)
                return
            raise NoArray(f"nothing between two marks before byte {scanner.offset}")
        start = segment.index(raw)
        yield RawRow(before + segment[:start], raw)
        scanner.rows += 1
        before = segment[start + len(raw) :] + mark
        if mark == b"]":
            yield RawRow(before + scanner.rest(), None)
            return


class _Scanner:
    def __init__(self, file: BinaryIO, max_row_bytes: int, chunk: int):
        self._file = file
        self._limit = max_row_bytes
        self._chunk = chunk
        self._buffer = b""
        self._at = 0
        self.offset = 0
        self.rows = 0

    def opening(self) -> bytes:
        """The bytes up to and including the first bracket."""
        while True:
            head = self._buffer.removeprefix(_BOM).lstrip(_BLANK)
            # A cut mark (fewer than its three bytes) must not be taken for content.
            if head and not _BOM.startswith(self._buffer):
                break
            if not self._more():
                raise NoArray("the file is empty, an array is expected")
        if head[:1] != b"[":
            raise NoArray(f"the file starts with {head[:20]!r}, an array is expected")
        return self._take(len(self._buffer) - len(head) + 1)

    def segment(self) -> tuple[bytes, bytes]:
        """The bytes up to the next mark of the array's own level, and that mark (comma or closing bracket)."""
        depth, position = 0, self._at
        while True:
            match = _TOKEN.search(self._buffer, position)
            token = match[0] if match else b""
            if match is None or (token[:1] == b'"' and match[1] is None):
                # Either nothing more in the buffer, or a string that it cuts: go on from there.
                resume = len(self._buffer) if match is None else match.start()
                resume -= self._at
                if not self._more():
                    raise NoArray(f"the file ends inside the array, after byte {self.offset + len(self._buffer)}")
                position = self._at + resume
                continue
            position = match.end()
            if depth == 0 and token in (b",", b"]"):
                segment = self._buffer[self._at : match.start()]
                if len(segment) > self._limit:
                    raise NoArray(f"a row of {len(segment):,} bytes starts at byte {self.offset}")
                self._take(match.end() - self._at)
                return segment, token
            depth += (token in (b"[", b"{")) - (token in (b"]", b"}"))
            if depth < 0:
                raise NoArray(f"unbalanced {token.decode()} at byte {self.offset + match.start() - self._at}")

    def rest(self) -> bytes:
        """Everything after the array. Raises `NoArray` unless it is blank."""
        rest = self._take(len(self._buffer) - self._at)
        while not rest.strip(_BLANK) and len(rest) <= self._limit and self._more():
            rest += self._take(len(self._buffer) - self._at)
        if len(rest) > self._limit:
            raise NoArray(f"more than {self._limit:,} blanks follow the array")
        if rest.strip(_BLANK):
            raise NoArray(f"{rest.strip(_BLANK)[:20]!r} follows the array")
        return rest

    def _take(self, count: int) -> bytes:
        data = self._buffer[self._at : self._at + count]
        self._at += count
        self.offset += count
        return data

    def _more(self) -> bool:
        waiting = len(self._buffer) - self._at
        if waiting > self._limit:
            raise NoArray(f"a row of more than {self._limit:,} bytes starts at byte {self.offset}")
        # Growing with what waits keeps a long row linear instead of quadratic.
        data = self._file.read(max(self._chunk, waiting))
        self._buffer = self._buffer[self._at :] + data
        self._at = 0
        return bool(data)
