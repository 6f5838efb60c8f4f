"""Parts ``data.tar.gz.0 .. N`` of one gzip stream, read as one decompressed, forward-only file.

The parts are slices: no part but the first is a gzip file of its own, and the first alone ends in mid-stream.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mmrs.errors import RunFailure, UserError

PART_NAME = re.compile(r"(?P<base>.+\.(?:tar\.gz|tgz))(?:\.(?P<number>\d{1,6}))?")
# Larger single reads are only asked for by forged headers: member data are read in smaller pieces.
MAX_READ = 1 << 20
_FEED = 1 << 18
_GZIP = 31


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may ask for, in bytes and counts; beyond it the archive is taken for a hostile or broken one.

    Args:
        member_bytes: largest single file.
        json_bytes: all JSON files together, since they are kept on disk while the rest streams by.
        total_bytes: the decompressed stream.
        members: number of files and folders.
        expansion: decompressed bytes per compressed byte, looked at once `expansion_floor` bytes are out. Archives of
            images stay near 1; gzip itself can reach 1,032.
    """

    member_bytes: int = 8 << 30
    json_bytes: int = 32 << 30
    total_bytes: int = 2 << 40
    members: int = 20_000_000
    expansion: float = 100.0
    expansion_floor: int = 1 << 30


def find_parts(folder: Path) -> tuple[Path, ...]:
    """The parts in `folder` in numeric order, or nothing where there is none.

    Raises:
        UserError: parts of several archives, two parts of one number, or a missing part (named).
    """
    numbered: dict[str, dict[int, list[Path]]] = {}
    for path in sorted(folder.iterdir()):
        match = PART_NAME.fullmatch(path.name)
        if match and path.is_file():
            number = int(match["number"]) if match["number"] else -1
            numbered.setdefault(match["base"], {}).setdefault(number, []).append(path)
    if not numbered:
        return ()
    if len(numbered) > 1:
        raise UserError(f"{folder} has parts of several archives: {', '.join(numbered)}. Keep one of them there.")
    ((base, parts),) = numbered.items()
    return _in_order(folder, base, parts)


def _in_order(folder: Path, base: str, parts: dict[int, list[Path]]) -> tuple[Path, ...]:
    for paths in parts.values():
        if len(paths) > 1:
            raise UserError(f"{paths[0]} and {paths[1].name} have one number; keep one of them.")
    if set(parts) == {-1}:
        return (parts[-1][0],)
    if -1 in parts:
        raise UserError(f"{folder} has {base} whole and in parts; keep one of them.")
    missing = [number for number in range(max(parts)) if number not in parts]
    if missing:
        names = ", ".join(f"{base}.{number}" for number in missing)
        raise UserError(
            f"{folder} lacks {names}: parts 0 to {max(parts)} are slices of one stream and all are needed. "
            "Download what is missing into the same folder."
        )
    return tuple(parts[number][0] for number in sorted(parts))


class JoinedParts:
    """The decompressed stream of all parts: `read`, `tell` and forward `seek`, as `tarfile` needs them.

    Args:
        paths: the parts in order.
        limits: see `Limits`.
        advance: called with the number of compressed bytes just read.
    """

    def __init__(self, paths: Sequence[Path], limits: Limits, advance: Callable[[int], None]):
        self._paths = paths
        self._limits = limits
        self._advance = advance
        self._sizes = [path.stat().st_size for path in paths]
        self._part = -1
        self._file: BinaryIO | None = None
        self._inflate = zlib.decompressobj(_GZIP)
        self._fed = False
        self._compressed = 0
        self._pending = b""
        self._ready = bytearray()
        self._position = 0
        self.last_read = b""

    def tell(self) -> int:
        """Bytes of the decompressed stream that were read or skipped so far."""
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        """Skip forward to `offset`. Raises `RunFailure` for a step back, which no sound archive needs."""
        if whence != 0 or offset < self._position:
            raise RunFailure(f"{self.where()}: the archive's headers point backwards; it is damaged or forged.")
        while self._position < offset and self.read(min(MAX_READ, offset - self._position)):
            pass
        return self._position

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, fewer only at the end of the stream.

        Raises:
            RunFailure: damaged or truncated part (named), a limit passed, or a single read beyond `MAX_READ`.
        """
        if not 0 <= size <= MAX_READ:
            raise RunFailure(f"{self.where()}: a header asks for {size} bytes; the archive is damaged or forged.")
        while len(self._ready) < size and self._fill():
            pass
        data = bytes(self._ready[:size])
        del self._ready[:size]
        self._position += len(data)
        self.last_read = data
        return data

    def close(self) -> None:
        """Close the part that is open."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def where(self) -> str:
        """The part being read, for a message."""
        return str(self._paths[min(max(self._part, 0), len(self._paths) - 1)])

    def _fill(self) -> bool:
        """Decompress some more; False at the sound end of the stream."""
        if self._inflate.eof:
            self._pending = self._inflate.unused_data
            self._inflate = zlib.decompressobj(_GZIP)
            self._fed = False
        if not self._pending:
            self._pending = self._feed()
        if not self._pending:
            if self._fed:
                raise RunFailure(self._truncated())
            return False
        self._fed = True
        try:
            self._ready += self._inflate.decompress(self._pending, MAX_READ)
        except zlib.error as error:
            raise RunFailure(self._damaged(error)) from error
        self._pending = b"" if self._inflate.eof else self._inflate.unconsumed_tail
        self._check_limits()
        return True

    def _feed(self) -> bytes:
        # A feed never crosses a part, so that a fault can be told to lie in one part.
        while True:
            data = self._file.read(_FEED) if self._file is not None else b""
            if data:
                self._compressed += len(data)
                self._advance(len(data))
                return data
            if self._part + 1 >= len(self._paths):
                return b""
            self.close()
            self._part += 1
            self._file = open(self._paths[self._part], "rb")  # noqa: SIM115 - closed by `close`

    def _check_limits(self) -> None:
        out, limits = self._position + len(self._ready), self._limits
        if out > limits.total_bytes:
            raise RunFailure(f"{self.where()}: more than {limits.total_bytes:,} bytes come out; that is no MMRS-1M.")
        if out > limits.expansion_floor and out > limits.expansion * self._compressed:
            raise RunFailure(
                f"{self.where()}: {self._compressed:,} bytes expand to more than {out:,} "
                f"(limit: {limits.expansion:g}-fold); refused as a compression bomb."
            )

    def _truncated(self) -> str:
        last = self._paths[-1]
        match = PART_NAME.fullmatch(last.name)
        number = int(match["number"]) if match and match["number"] else None
        next_part = f"{match['base']}.{number + 1} is missing, or " if match and number is not None else ""
        text = f"the stream ends in mid-file after {last}: {next_part}{last.name} is truncated"
        return f"{text}{self.odd_sizes(', or ')}. Compare the sizes with the download page and fetch that part again."

    def _damaged(self, error: zlib.error) -> str:
        at = self._file.tell() if self._file is not None else 0
        before = ""
        if self._part > 0 and at <= _FEED:
            before = f"; as it is at the beginning of that part, {self._paths[self._part - 1].name} may be truncated"
        return (
            f"{self.where()} breaks the stream near byte {at:,} ({error}){before}{self.odd_sizes('; ')}. "
            "Fetch the part again; the parts cannot be read one by one."
        )

    def odd_sizes(self, lead: str) -> str:
        """Parts before the last that are smaller than most, as text after `lead`: the mark of a broken download."""
        full = self._sizes[:-1]
        if len(full) < 2:
            return ""
        usual = Counter(full).most_common(1)[0]
        odd = [i for i, size in enumerate(full) if size < usual[0]] if usual[1] > 1 else []
        told = [f"{self._paths[i].name} has {full[i]:,} bytes where others have {usual[0]:,}" for i in odd]
        return lead + ", ".join(told) if told else ""
