"""Cells of the columns that somebody names, of any table of images: numbers of classes by the names that the table has.

A column may be a part of another one, through structs and lists of them (``objects.bbox``). Images are not read: their
rows are, in blocks, so that memory does not grow with the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from converters.formats.text import listed_names
from converters.mirrors.columns import (
    BLOCK_ROWS,
    class_label_names,
    holds_bytes,
    is_file_name,
    opened_table,
    table_features,
)
from mmrs.errors import BadItem
from mmrs.row_tables.table import RowTable

# One long text said often takes a few bytes of a table: a block of it is not read in one go.
_ROWS_AT_ONCE = 128
_LOOKED_AT, _BYTES = 32, "bytes"
_MOST_BYTES_AT_ONCE = 256 << 20


@dataclass(frozen=True, slots=True)
class ImageColumn:
    """Where a table has its images: dotted column of their `content`, and of their `name`; empty where it has none.

    Without `content` the names are those of files outside of the table.
    """

    content: str
    name: str


@dataclass(frozen=True, slots=True)
class TableCells:
    """One row: its number from 0, the first row of its block, the plain file `name`, and `cells` by column.

    `written_name` is the name as the table has it, None where it has none; `name` is empty where that is no file name.
    """

    row: int
    block_row: int
    written_name: str | None
    name: str
    cells: tuple[Any, ...]


def table_schema(path: Path) -> pa.Schema:
    """The schema of a table. Raises `BadItem`."""
    with opened_table(path) as table:
        return table.schema


def column_classes(path: Path, column: str) -> tuple[str, ...] | None:
    """The names of classes that the table has for the numbers of a column, None where it has none. Raises `BadItem`."""
    schema = table_schema(path)
    return _Column.of(schema, table_features(schema, str(path)), column, path).classes


def find_image_column(path: Path, column: str, name: str | None = None) -> ImageColumn:
    """What the column of images holds; `name` is the column that names them, where it is not beside the bytes.

    Raises:
        BadItem: no such column, or one that holds neither images nor names of files.
    """
    with opened_table(path) as table:
        kind = _type_at(table.schema, column, path)
        if name is not None:
            _check_texts(_type_at(table.schema, name, path), name, path)
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            has_paths = kind.get_field_index("path") >= 0
            beside = f"{column}.path" if has_paths else ""
            content = "" if has_paths and _has_no_bytes(table, f"{column}.{_BYTES}") else f"{column}.{_BYTES}"
            return ImageColumn(content, name or beside)
    if holds_bytes(kind):
        return ImageColumn(column, name or "")
    if _is_text(kind):
        return ImageColumn("", name or column)
    raise BadItem(f"its column {column} has values of type {kind}; images or names of files are expected", str(path))


def read_table_cells(path: Path, name: str, columns: Sequence[str]) -> Iterator[TableCells]:
    """The cells of `columns` in every row, and the image's name from the column `name` (empty: there is none).

    Numbers of classes (``ClassLabel``) are their names; a number that has none is its text. Lists stay lists.

    Raises:
        BadItem: the table cannot be read, lacks a column, or has other values than texts and numbers in it.
    """
    with opened_table(path) as table:
        schema = table.schema
        features = table_features(schema, str(path))
        asked = [column for column in (name, *columns) if column]
        found = [_Column.of(schema, features, column, path) for column in asked]
        projection = list(dict.fromkeys(column.projection for column in found))
        first = 0
        for group, rows in enumerate(table.group_rows):
            row = first
            for batch in table.batches(group, _ROWS_AT_ONCE, projection):
                if batch.nbytes > _MOST_BYTES_AT_ONCE:
                    raise BadItem(f"rows {row} to {row + len(batch)} have {batch.nbytes:,} bytes of text", str(path))
                values = [column.values(batch) for column in found] or [[()] * len(batch)]
                for cells in zip(*values, strict=True):
                    written, own = (cells[0], cells[1:]) if name else (None, cells)
                    yield _row(row, row - (row - first) % BLOCK_ROWS, written, own)
                    row += 1
            first += rows


def _row(row: int, block_row: int, written: Any, cells: tuple[Any, ...]) -> TableCells:
    text = str(written) if isinstance(written, str | int) and not isinstance(written, bool) and written != "" else None
    plain = (text or "").replace("\\", "/").rpartition("/")[2]
    return TableCells(row, block_row, text, plain if is_file_name(plain) else "", cells)


@dataclass(frozen=True, slots=True)
class _Column:
    """A column and how its cells are taken out of a batch; `classes` are the names of its numbers."""

    top: str
    parts: tuple[str, ...]
    projection: str
    classes: tuple[str, ...] | None

    @classmethod
    def of(cls, schema: pa.Schema, features: dict[str, Any], column: str, path: Path) -> _Column:
        """The column as the schema and the features of `datasets` have it. Raises `BadItem`."""
        _check_texts(_type_at(schema, column, path), column, path)
        top, parts = _parts(schema, column)
        kind, depth = schema.field(top).type, 0
        while depth < len(parts) and pa.types.is_struct(kind):
            kind, depth = kind.field(parts[depth]).type, depth + 1
        feature = features.get(top)
        for part in parts:
            inner = _unwrapped(feature)
            feature = inner.get(part) if isinstance(inner, dict) else None
        classes = class_label_names(_unwrapped(feature), column, path)
        return cls(top, parts, ".".join((top, *parts[:depth])), classes)

    def values(self, batch: pa.RecordBatch) -> list[Any]:
        """The cells of a batch as plain values."""
        cells, parts = batch.column(batch.schema.get_field_index(self.top)), list(self.parts)
        while parts and isinstance(cells, pa.StructArray):
            cells = cells.field(parts.pop(0))
        values = cells.to_pylist()
        if parts:
            values = [_dig(value, parts) for value in values]
        return values if self.classes is None else [_named(value, self.classes) for value in values]


def _dig(value: Any, parts: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_dig(part, parts) for part in value]
    if not parts or not isinstance(value, dict):
        return value
    return _dig(value.get(parts[0]), parts[1:])


def _named(value: Any, classes: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_named(part, classes) for part in value]
    if isinstance(value, int) and 0 <= value < len(classes):
        return classes[value]
    return value if value is None else str(value)


def _parts(schema: pa.Schema, column: str) -> tuple[str, tuple[str, ...]]:
    """The column of the table, and the parts of it; a whole name may have dots."""
    if column in schema.names:
        return column, ()
    top, *parts = column.split(".")
    return top, tuple(parts)


def has_column(schema: pa.Schema, column: str) -> bool:
    """Whether a table has that column, once; dotted where it is part of another one."""
    return _found_type(schema, column) is not None


def _found_type(schema: pa.Schema, column: str) -> pa.DataType | None:
    top, parts = _parts(schema, column)
    if schema.names.count(top) != 1:
        return None
    kind = schema.field(top).type
    for part in parts:
        while _is_list(kind):
            kind = kind.value_type
        if not pa.types.is_struct(kind) or kind.get_field_index(part) < 0:
            return None
        kind = kind.field(part).type
    return kind


def _type_at(schema: pa.Schema, column: str, path: Path) -> pa.DataType:
    kind = _found_type(schema, column)
    if kind is not None:
        return kind
    listed = listed_names(schema.names)
    raise BadItem(f"has no column {column!r}, or several; its columns are {listed}", str(path))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _check_texts(kind: pa.DataType, column: str, path: Path) -> None:
    """Raise `BadItem` unless the column has texts, numbers, and lists and structs of them."""
    if _is_list(kind):
        _check_texts(kind.value_type, column, path)
    elif pa.types.is_struct(kind):
        for field in kind:
            _check_texts(field.type, column, path)
    elif pa.types.is_dictionary(kind):
        _check_texts(kind.value_type, column, path)
    elif not (_is_text(kind) or any(check(kind) for check in _NUMBERS)):
        raise BadItem(f"its column {column} has values of type {kind}; texts and numbers are read", str(path))


_NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)


def _unwrapped(feature: Any) -> Any:
    """A feature without the lists around it: ``{"feature": X, "_type": "Sequence"}`` or ``[X]``."""
    while True:
        if isinstance(feature, list) and len(feature) == 1:
            feature = feature[0]
        elif isinstance(feature, dict) and isinstance(feature.get("feature"), dict | list) and "_type" in feature:
            feature = feature["feature"]
        else:
            return feature


def _has_no_bytes(table: RowTable, column: str) -> bool:
    """Whether the first rows have no bytes. They are read: pyarrow ends the process at damaged statistics."""
    batches = (batch for group in range(len(table.group_rows)) for batch in table.batches(group, 1, [column]))
    first = list(islice(batches, _LOOKED_AT))
    return bool(first) and all(_image_cells(batch).null_count == len(batch) for batch in first)


def _image_cells(batch: pa.RecordBatch) -> pa.Array:
    cells = batch.column(0)
    while isinstance(cells, pa.StructArray):
        cells = cells.field(_BYTES if cells.type.get_field_index(_BYTES) >= 0 else 0)
    return cells
