"""CSV: one table for all images of a split, or one for all splits with a column that says whose a row is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from converters.formats.csv_table import CsvTable, read_csv_table
from converters.formats.folders import split_of_word
from converters.own_data.columns import Columns
from converters.own_data.description import DescribedSet, Description
from converters.own_data.items import (
    FoundItems,
    OwnFormat,
    ReadImage,
    images_and_file,
    images_named_in,
)
from converters.own_data.table_rows import row_annotations
from mmrs.errors import BadItem
from mmrs.record import Provenance
from mmrs.source import Item


def _find(described: DescribedSet, root: Path, split: str) -> FoundItems:
    own = described.content
    columns = own.columns
    if columns is None:
        raise BadItem("the description names no columns")

    def read(path: Path) -> _Rows:
        return _rows_of(read_csv_table(path), columns, split, tuple(own.splits), str(path))

    images, source, rows = images_and_file(described, root, split, read)
    by_image = ((names, {"rows": own_rows}) for names, own_rows in rows.by_image.items())
    found = images_named_in(images, source, by_image, sequence=own.images_of_sample)
    found = replace(found, unread_rows=tuple((f"{source}:{line}", reason) for line, reason in rows.nameless))
    if columns.split is None:
        return found
    # Images that are not named here are those of other splits.
    return replace(found, notes=rows.notes, consulted=frozenset({source}))


class _Rows:
    """Rows by the names of their images, (line, reason) of those that name none, and notes."""

    def __init__(self) -> None:
        self.by_image: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        self.nameless: list[tuple[int, str]] = []
        self.notes: tuple[str, ...] = ()


def _rows_of(table: CsvTable, columns: Columns, split: str, splits: tuple[str, ...], path: str) -> _Rows:
    places = {key: table.places(names, path) for key, names in columns.roles.items()}
    images = table.places(columns.images, path)
    (split_place,) = table.places((columns.split,), path) if columns.split else (None,)
    found = _Rows()
    others: dict[str, int] = {}
    for line, cells in table.rows:
        names = tuple(cells[image] if image < len(cells) else "" for image in images)
        if len(cells) != len(table.header):
            row: dict[str, Any] = {"line": line, "fault": f"{len(cells)} cells, the header has {len(table.header)}"}
        else:
            if split_place is not None and not _is_of(cells[split_place], split):
                if not any(_is_of(cells[split_place], other) for other in splits):
                    others[cells[split_place]] = others.get(cells[split_place], 0) + 1
                continue
            row = {"line": line} | {key: _cell(cells, own) for key, own in places.items()}
        if all(names):
            found.by_image.setdefault(names, []).append(row)
        else:
            found.nameless.append((line, f"the row has no {columns.images[names.index('')]}"))
    # A description that names no such split says so once, whichever it asks for.
    found.notes = tuple(f"{count} rows are of split {word!r}, which is not described" for word, count in others.items())
    return found


def _is_of(word: str, split: str) -> bool:
    return word == split or (split_of_word(word) is not None and split_of_word(word) == split_of_word(split))


def _cell(cells: tuple[str, ...], places: tuple[int, ...]) -> str | list[str]:
    return cells[places[0]] if len(places) == 1 else [cells[place] for place in places]


def _read(own: Description, item: Item) -> ReadImage:
    source = item.annotations[0]
    payload: Mapping[str, Any] = item.payload
    return row_annotations(
        own, payload["rows"], str(source), Provenance(annotation=source.name, original_id=item.image.name)
    )


CSV_FORMAT = OwnFormat(_find, _read)
