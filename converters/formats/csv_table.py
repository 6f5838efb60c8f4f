"""A CSV table with a header: rows of cells by the names of their columns.

The separator (comma, semicolon, tab or bar) is the one that the header has most of. Nothing is guessed of a table
without a header: its first row would be lost.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from converters.formats.text import decode, listed_names, read_bytes, shown
from mmrs.errors import BadItem

_SEPARATORS = ",;\t|"
_MOST_COLUMNS = 10_000


@dataclass(frozen=True, slots=True)
class CsvTable:
    """`header` and, in file order, the 1-based line of each row that is not blank with its stripped cells."""

    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]

    def places(self, columns: tuple[str, ...], path: str) -> tuple[int, ...]:
        """Where each of the columns stands. Raises `BadItem` for one that is not there, or there twice."""
        for column in columns:
            count = self.header.count(column)
            if count != 1:
                fault = "no column" if not count else f"{count} columns"
                raise BadItem(f"has {fault} {column!r}; its columns are {listed_names(self.header)}", path, 1)
        return tuple(map(self.header.index, columns))


def read_csv_table(path: Path) -> CsvTable:
    """Read one file. Raises `BadItem`."""
    return parse_csv_table(read_bytes(path), str(path))


def parse_csv_table(data: bytes, path: str) -> CsvTable:
    """Parse the bytes of one file; `path` names it in errors.

    Raises:
        BadItem: not UTF-8, not CSV, empty, or a header with a number for a name.
    """
    text = decode(data, path)
    first = text.lstrip("\r\n").partition("\n")[0]
    separator = max(_SEPARATORS, key=first.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True)
    found: list[tuple[int, tuple[str, ...]]] = []
    try:
        # A row may go over several lines: it is called by its first one.
        line = 1
        for row in rows:
            cells = tuple(cell.strip() for cell in row)
            if any(cells):
                found.append((line, cells))
            line = rows.line_num + 1
    except csv.Error as error:
        raise BadItem(f"not CSV: {error}", path, rows.line_num) from error
    if not found:
        raise BadItem("empty file, a header expected", path)
    header = found[0][1]
    if len(header) > _MOST_COLUMNS or any(_is_number(name) for name in header):
        raise BadItem(f"first line {shown(first)} is no header: write the names of the columns above it", path, 1)
    return CsvTable(header, tuple(found[1:]))


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True
