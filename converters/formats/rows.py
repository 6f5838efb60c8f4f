"""Rows of an annotation file read one by one: a row that is not understood is named and costs itself, not its image.

The image then says nothing of "all objects" (`mmrs.record.Annotations.unread`), and the row is counted as a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from mmrs.errors import BadItem
from mmrs.record import UnreadRow

R = TypeVar("R")
T = TypeVar("T")


def each_row(rows: Iterable[R], read: Callable[[R], T]) -> tuple[T | UnreadRow, ...]:
    """What `read` makes of each row, in order; what it refused with a `BadItem` keeps its place as an `UnreadRow`."""
    found: list[T | UnreadRow] = []
    for row in rows:
        try:
            found.append(read(row))
        except BadItem as error:
            found.append(_unread(error, error.line))
    return tuple(found)


def apart(rows: Iterable[T | UnreadRow]) -> tuple[tuple[T, ...], tuple[UnreadRow, ...]]:
    """The rows that were understood and those that were not, both in order."""
    rows = tuple(rows)
    unread = tuple([row for row in rows if isinstance(row, UnreadRow)])
    # Nearly every file is understood as a whole.
    found = tuple([row for row in rows if not isinstance(row, UnreadRow)]) if unread else rows
    return found, unread  # type: ignore[return-value]


def rows_apart(rows: Iterable[R], read: Callable[[R], T]) -> tuple[tuple[T, ...], tuple[UnreadRow, ...]]:
    """What `read` makes of each row, and the rows that it refused with a `BadItem`."""
    return apart(each_row(rows, read))


def lines_apart(data: bytes, read: Callable[[bytes], T]) -> tuple[T, tuple[UnreadRow, ...]]:
    """What `read` makes of a file whose lines do not depend on each other, and the lines that it refuses.

    Raises:
        BadItem: what `read` refuses without naming a line.
    """
    try:
        return read(data), ()
    except BadItem as error:
        if error.line is None:
            raise
    lines = data.split(b"\n")
    unread = []
    for position, line in enumerate(lines):
        try:
            read(line)
        except BadItem as error:
            unread.append(_unread(error, position + 1))
            lines[position] = b""
    return read(b"\n".join(lines)), tuple(unread)


def _unread(error: BadItem, line: int | None) -> UnreadRow:
    return UnreadRow(reason=error.reason, path=error.path, line=line)
