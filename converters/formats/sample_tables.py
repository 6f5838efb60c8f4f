"""Tables of other projects with a row for each image: its path, that of its label file, and its split (CSV).

Paths in a table are looked up in a listing of the folder and never joined to one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from converters.formats.text import decode, read_bytes
from converters.formats.tree import FileTree
from converters.layout import Problem
from mmrs.errors import BadItem
from mmrs.source import Absent, Item, ensure_unique_stems

_IMAGE, _LABEL, _SPLIT = "image_path", "label_path", "split"


@dataclass(frozen=True, slots=True)
class TableRow:
    """One image as a table names it; `label` is empty where it has none. `line` is 1-based."""

    image: str
    label: str
    split: str
    line: int


def read_sample_table(path: Path) -> tuple[TableRow, ...]:
    """Read one table by the names of its columns. Raises `BadItem` when it is no such table."""
    return parse_sample_table(read_bytes(path), str(path))


def parse_sample_table(data: bytes, path: str) -> tuple[TableRow, ...]:
    """Parse the bytes of one table; `path` names it in errors. Other columns are passed over.

    Raises:
        BadItem: not UTF-8, not CSV, a column is missing, or a row is shorter than the header.
    """
    rows = csv.DictReader(io.StringIO(decode(data, path), newline=""), strict=True)
    try:
        missing = [name for name in (_IMAGE, _LABEL, _SPLIT) if name not in (rows.fieldnames or ())]
        if missing:
            raise BadItem(f"has no column {missing[0]}", path, 1)
        found = []
        for row in rows:
            if any(row[name] is None for name in (_IMAGE, _LABEL, _SPLIT)):
                raise BadItem("row is shorter than the header", path, rows.line_num)
            found.append(TableRow(row[_IMAGE].strip(), row[_LABEL].strip(), row[_SPLIT].strip(), rows.line_num))
    except csv.Error as error:
        raise BadItem(f"not CSV: {error}", path, rows.line_num) from error
    return tuple(found)


def table_items(
    table: Path, rows: Sequence[TableRow], images: FileTree, labels: FileTree
) -> tuple[tuple[Item, ...], tuple[Problem, ...]]:
    """An item for every row whose image and label file are there; the others are problems."""
    items: list[Item] = []
    problems: list[Problem] = []
    for row in rows:
        try:
            image, label = images.find(row.image), labels.find(row.label) if row.label else None
        except BadItem as error:
            problems.append((str(table), f"line {row.line}: {error.reason}"))
            continue
        if image is None or label is None:
            missing = f"image {row.image}" if image is None else f"label file {row.label}".rstrip()
            problems.append(Absent(str(table), f"line {row.line}: {missing} is not there"))
        else:
            items.append(Item(image.stem, image, (label,)))
    unique, repeats = ensure_unique_stems(items)
    return unique, (*problems, *repeats)
