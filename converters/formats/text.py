"""Bytes to text, JSON and numbers, with errors that name the file and the place."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import orjson

from mmrs.errors import BadItem

# No real scene is a million pixels wide; a bound keeps areas finite and finds garbled numbers.
MAX_PIXELS = 1_000_000.0
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def read_bytes(path: Path) -> bytes:
    """Content of a file. Raises `BadItem` when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadItem(f"cannot be read: {error.strerror or error}", str(path)) from error


def decode(data: bytes, path: str) -> str:
    """UTF-8 text without its byte order mark. Raises `BadItem` with the offset of the first byte that is not UTF-8."""
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadItem(f"not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}", path, line) from error


def numbered_lines(data: bytes, path: str) -> list[tuple[int, str]]:
    """(1-based number, stripped text) of every line that is not blank, LF or CRLF. Raises `BadItem` if not UTF-8."""
    # Only LF ends a line: splitlines() would also cut at form feeds and Unicode separators and shift line numbers.
    lines = decode(data, path).split("\n")
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


def parse_json(data: bytes, path: str) -> Any:
    """JSON value (NaN and Infinity are refused). Raises `BadItem` with the line."""
    text = decode(data, path)
    if not text.strip():
        raise BadItem("empty file, JSON expected", path)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadItem(f"not JSON: {error.msg} (character {error.pos})", path, error.lineno) from error


def finite(value: object, what: str, path: str, line: int | None = None, limit: float = MAX_PIXELS) -> float:
    """A finite number from a JSON number or from decimal text, at most `limit` in size. Raises `BadItem`."""
    number = math.nan
    if isinstance(value, str):
        # Every number of every annotation passes here; most are plain digits and need no pattern.
        if (value.isdigit() and value.isascii()) or NUMBER.fullmatch(value.strip()):
            number = float(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        # Integers beyond the float range become infinite instead of raising.
        number = float(value) if abs(value) <= limit else math.inf
    if -limit <= number <= limit:
        return number
    if math.isnan(number):
        raise BadItem(f"{what} is {shown(value)}, a finite number is expected", path, line)
    raise BadItem(f"{what} is {shown(value)}, beyond {limit:g}", path, line)


def integer(value: object, what: str, path: str, line: int | None = None) -> int:
    """A whole number from a JSON number or decimal text. Raises `BadItem`."""
    number = finite(value, what, path, line)
    if not number.is_integer():
        raise BadItem(f"{what} is {shown(value)}, a whole number is expected", path, line)
    return int(number)


def shown(value: object) -> str:
    """A value for a message, at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
