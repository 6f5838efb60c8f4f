"""A table of file names and class labels: CSV with a header line."""

from __future__ import annotations

import csv
import io
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from converters.formats.text import decode, read_bytes, shown
from mmrs.errors import BadItem

_COLUMNS = 2


@dataclass(frozen=True, slots=True)
class LabelFile:
    """File name (NFC) -> label in file order; `repeats` counts rows that only say again what stood there before.

    `problems` are (place, reason) of rows left out.
    """

    labels: dict[str, str]
    repeats: int
    problems: tuple[tuple[str, str], ...]


def read_labels(path: Path) -> LabelFile:
    """Read one file. Raises `BadItem` when it cannot be read or is not UTF-8."""
    return parse_labels(read_bytes(path), str(path))


def parse_labels(data: bytes, path: str) -> LabelFile:
    """Parse the bytes of one file, whose first line is a header whatever it says; `path` names it in errors.

    A row that is not a name and a label, or that gives a name a second label, is a problem; the first label wins.

    Raises:
        BadItem: not UTF-8, or not CSV.
    """
    labels: dict[str, str] = {}
    repeats, problems = 0, []
    rows = csv.reader(io.StringIO(decode(data, path), newline=""), strict=True)
    try:
        next(rows, None)
        for row in rows:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            place = f"{path}:{rows.line_num}"
            if len(cells) != _COLUMNS or not all(cells):
                problems.append((place, f"row {shown(row)} is not a file name and a label"))
                continue
            name = unicodedata.normalize("NFC", cells[0])
            if name not in labels:
                labels[name] = cells[1]
            elif labels[name] == cells[1]:
                repeats += 1
            else:
                problems.append((place, f"{name} is {cells[1]!r} here and {labels[name]!r} before; the first was kept"))
    except csv.Error as error:
        raise BadItem(f"not CSV: {error}", path, rows.line_num) from error
    return LabelFile(labels, repeats, tuple(problems))
