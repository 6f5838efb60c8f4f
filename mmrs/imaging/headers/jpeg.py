"""The header of an ordinary JPEG file, read in one go.

Most files of most sources are baseline or progressive JPEGs of 8 bits in one or three colours with nothing but tables
and comments before their pixels. For those `PIL.Image.open` takes 38 µs a file and this 22, the state of the file that
a survey needs included; a survey asks a million times. Whatever looks unusual (EXIF, colour profiles, several pictures,
odd lengths) is left to Pillow. Figures: benchmarks/results/2026-11-30-by-hand.json.

Marker codes: ITU-T T.81, table B.1; JFIF: ITU-T T.871.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_HEAD_BYTES = 4096
_APP0, _COMMENT, _RESTART, _HUFFMAN, _QUANTISATION, _SCAN = 0xE0, 0xFE, 0xDD, 0xC4, 0xDB, 0xDA
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_SEQUENTIAL_FRAMES = frozenset({0xC0, 0xC1})
_OTHER_FRAMES = frozenset(range(0xC2, 0xD0)) - {_HUFFMAN, 0xC8, 0xCC}
_SKIPPED = frozenset({_COMMENT, _RESTART, _HUFFMAN})
_JFIF_BYTES, _TABLE_BYTES = 14, 65


@dataclass(frozen=True, slots=True)
class PlainJpeg:
    """Width and height in pixels; an orientation other than 1 is not plain."""

    width: int
    height: int
    mode: Literal["L", "RGB"]


def read_plain_jpeg(path: Path) -> tuple[PlainJpeg, os.stat_result] | None:
    """The header and state of an ordinary JPEG file; None for all others, and for what is no readable file."""
    try:
        # Without O_NONBLOCK a named pipe would keep us waiting for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        status = os.fstat(descriptor)
        found = plain_jpeg(os.read(descriptor, _HEAD_BYTES)) if stat.S_ISREG(status.st_mode) else None
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None if found is None else (found, status)


def plain_jpeg(head: bytes) -> PlainJpeg | None:
    """The header at the start of `head`; None where it is not ordinary or goes on behind the end of `head`."""
    if head[:2] != b"\xff\xd8":
        return None
    frame = None
    position = 2
    while position + 4 <= len(head):
        lead, marker, high, low = head[position : position + 4]
        end = position + 2 + (high << 8) + low
        if lead != 0xFF or end > len(head):
            return None
        if marker == _SCAN:
            return frame
        content = head[position + 4 : end]
        if marker in _FRAMES:
            if frame is not None:
                return None
            frame = _frame(content)
            if frame is None:
                return None
        elif marker == _QUANTISATION:
            if len(content) % _TABLE_BYTES or any(byte > 15 for byte in content[::_TABLE_BYTES]):
                return None
        elif marker == _APP0:
            if len(content) < _JFIF_BYTES or not content.startswith(b"JFIF\0"):
                return None
        elif marker not in _SKIPPED:
            return None
        position = end
    return None


def _frame(content: bytes) -> PlainJpeg | None:
    if len(content) < 6 or content[0] != 8:
        return None
    height, width, colours = (content[1] << 8) + content[2], (content[3] << 8) + content[4], content[5]
    if colours not in (1, 3) or len(content) != 6 + 3 * colours or not (width and height):
        return None
    return PlainJpeg(width, height, "L" if colours == 1 else "RGB")


def has_one_scan(data: bytes) -> bool:
    """Whether a JPEG is sequential and its first scan has all colours, so that a decoder stops behind it."""
    colours = None
    position = 2
    while position + 5 <= len(data):
        lead, marker, high, low = data[position : position + 4]
        if lead != 0xFF:
            return False
        if marker == _SCAN:
            return data[position + 4] == colours
        if marker in _SEQUENTIAL_FRAMES:
            colours = data[position + 9] if position + 9 < len(data) else None
        elif marker in _OTHER_FRAMES:
            return False
        position += 2 + (high << 8) + low
    return False
