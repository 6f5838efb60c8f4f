"""Bytes to text, JSON and numbers, with errors that name the file and the place."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson

from mmrs.errors import BadItem
from mmrs.storage.plain_files import read_plain_file
from mmrs.text import shorten

# No real scene is a million pixels wide; a bound keeps areas finite and finds garbled numbers.
_MAX_PIXELS = 1_000_000.0
_KINDS = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "an object",
}
_NOT_FINITE = re.compile(r"NaN|-?Infinity")
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
NUMBER = re.compile(_NUMBER, re.ASCII)
_WRITTEN_NUMBERS = re.compile(rf"{_NUMBER}(?:;{_NUMBER})*", re.ASCII)
_NUMBER_TYPES = (float, int)


def read_bytes(path: Path) -> bytes:
    """Content of a plain file. Raises `BadItem` when it cannot be read, or a link leads out of the source."""
    try:
        return read_plain_file(path)
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
        if word := _NOT_FINITE.search(text, max(0, error.pos - 2), error.pos + len("-Infinity")):
            reason = f"{word[0]} is no value of JSON (character {word.start()})"
            raise BadItem(reason, path, error.lineno, "write null or a number in its place") from error
        raise BadItem(f"not JSON: {error.msg} (character {error.pos})", path, error.lineno) from error


def finite(value: object, what: str, path: str, line: int | None = None, limit: float = _MAX_PIXELS) -> float:
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


def plain_numbers(values: Iterable[object]) -> tuple[float, ...] | None:
    """All values as floats where each is a JSON number that `finite` takes; else None: `finite` says what is wrong."""
    for value in values:
        if type(value) not in _NUMBER_TYPES or not -_MAX_PIXELS <= value <= _MAX_PIXELS:  # type: ignore[operator]
            return None
    return tuple(map(float, values))  # type: ignore[arg-type]


def written_numbers(texts: Sequence[str]) -> tuple[float, ...] | None:
    """All texts as floats where each is decimal, without blanks, and one that `finite` takes; else None."""
    # Most are plain digits, of which none is empty, and need no pattern.
    digits = "".join(texts)
    plain = digits.isdigit() and digits.isascii() and "" not in texts
    if not plain and _WRITTEN_NUMBERS.fullmatch(";".join(texts)) is None:
        return None
    numbers = tuple(map(float, texts))
    return numbers if min(numbers) >= -_MAX_PIXELS and max(numbers) <= _MAX_PIXELS else None


def integer(value: object, what: str, path: str, line: int | None = None) -> int:
    """A whole number from a JSON number or decimal text. Raises `BadItem`."""
    number = finite(value, what, path, line)
    if not number.is_integer():
        raise BadItem(f"{what} is {shown(value)}, a whole number is expected", path, line)
    return int(number)


Id = int | str
_WHOLE_NUMBER = re.compile(r"-?(0|[1-9]\d{0,17})", re.ASCII)
_FLAG_WORDS = {"1": True, "true": True, "yes": True, "y": True, "0": False, "false": False, "no": False, "n": False}


def id_of(row: object, key: str, where: str) -> Id:
    """The id that a JSON row has under `key`: 7, ``"7"`` and 7.0 are one number, any other text is itself.

    Raises:
        BadItem: there is none, or a value that is no id; `where` names the row.
    """
    if not isinstance(row, dict):
        raise BadItem(f"{where} is {shown(row)} ({kind(row)}), an object is expected")
    value = row.get(key)
    if isinstance(value, str) and value.strip():
        text = value.strip()
        return int(text) if _WHOLE_NUMBER.fullmatch(text) else text
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if value is None:
        raise BadItem(f"{where} has no {key}")
    raise BadItem(f"{where} has the {key} {shown(value)} ({kind(value)}); a number or a text is expected")


def flag(value: object, what: str, path: str, line: int | None = None) -> bool:
    """A yes or no as files spell it: booleans, the numbers 0 and 1, and their usual words in any case; None is no.

    Raises:
        BadItem: any other value.
    """
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, int | float) and value in (0, 1):
        return value == 1
    found = _FLAG_WORDS.get(value.strip().lower()) if isinstance(value, str) else None
    if found is None:
        raise BadItem(f"{what} is {shown(value)} ({kind(value)}); 0, 1, true or false is expected", path, line)
    return found


def kind(value: object) -> str:
    """What a JSON value is, for a message."""
    return _KINDS.get(type(value), type(value).__name__)


def listed_names(names: Sequence[str]) -> str:
    """The first names of columns for a message, each by its beginning."""
    return ", ".join(shorten(name, 40) for name in names[:12])


def shown(value: object) -> str:
    """A value for a message, at most 60 characters."""
    try:
        text = repr(value)
    except RecursionError:
        text = f"{kind(value)} of hundreds of levels"
    return text if len(text) <= 60 else text[:57] + "..."
