"""What the columns of a table of images are: by the features that `datasets` states in its schema, else by their form.

Everything here comes from a stranger: names of columns, classes and files are looked at before they are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from converters.formats.text import parse_json, shown
from mmrs.errors import BadItem
from mmrs.row_tables.table import RowTable, open_row_table
from mmrs.storage.plain_files import open_to_read

_BYTES, _PATH = "bytes", "path"
_LABELS = ("label", "labels", "class")
_NAMES = ("image_id", "file_name", "filename", "name")
_LFS = b"version https://git-lfs"
BLOCK_ROWS = 1024
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class ImageTable:
    """One table: dotted columns of the images' bytes, of what may name them (none: names are lost) and of their class.

    `class_names` are the classes by number, None where the column has their names itself.
    """

    image: str
    names: tuple[str, ...]
    label: str
    class_names: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """One row: `label` as the table says it, `names` that are plain file names, `block_row` the first of its block.

    `fault` says why it cannot be used, None where it can.
    """

    row: int
    label: str
    names: tuple[str, ...]
    block_row: int
    fault: str | None = None


def read_image_table(path: Path) -> ImageTable:
    """Read the schema of a table of images with one class each; no row is read.

    Raises:
        BadItem: no table, no column (or several) of images or of classes, or numbers without names of classes.
    """
    with opened_table(path) as table:
        schema = table.schema
    features = table_features(schema, str(path))
    image = _only_column(path, "images", [field.name for field in schema if _is_image(field, features)])
    cell = schema.field(image).type
    is_struct = pa.types.is_struct(cell)
    paths = [f"{image}.{_PATH}"] if is_struct and cell.get_field_index(_PATH) >= 0 else []
    texts = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
    label = _only_column(path, "classes", _label_columns(schema, features))
    names = class_label_names(features.get(label), label, path)
    if names is None and label not in texts:
        raise BadItem(f"its column {label} has numbers, and the table does not say which classes they are", str(path))
    named = (*paths, *(column for column in _NAMES if column in texts and column != label))
    return ImageTable(f"{image}.{_BYTES}" if is_struct else image, named, label, names)


def read_labelled_rows(path: Path, table: ImageTable) -> Iterator[LabelledRow]:
    """Class and name of every row; no image is read. Raises `BadItem` where the table cannot be read."""
    columns = [table.label, *table.names]
    with opened_table(path) as file:
        first = 0
        for group, rows in enumerate(file.group_rows):
            row = first
            for batch in file.batches(group, BLOCK_ROWS, columns):
                cells = [column_values(batch, column) for column in columns]
                for label, *names in zip(*cells, strict=True):
                    block = row - (row - first) % BLOCK_ROWS
                    yield _checked(row, label, names, block, table.class_names)
                    row += 1
            first += rows


def _checked(row: int, label: Any, names: Sequence[Any], block_row: int, classes: Sequence[str] | None) -> LabelledRow:
    fault = None
    if classes is not None:
        is_known = isinstance(label, int) and 0 <= label < len(classes)
        fault = None if is_known else f"class number {shown(label)} is none of 0 to {len(classes) - 1}"
        label = classes[label] if is_known else ""
    elif not isinstance(label, str) or not label:
        fault, label = "the row has no class", ""
    written = [name.replace("\\", "/").rpartition("/")[2] for name in names if isinstance(name, str) and name]
    plain = tuple(name for name in written if is_file_name(name))
    if written and not plain:
        fault = f"name {shown(written[0])} is no file name"
    return LabelledRow(row, label, plain, block_row, fault)


def is_file_name(name: str) -> bool:
    """Whether a name without folders can be that of a file, and is shown as it is."""
    return name not in ("", ".", "..") and len(name) <= _LONGEST_NAME and name.isprintable()


@contextmanager
def opened_table(path: Path) -> Iterator[RowTable]:
    """A table, also while it is read. Every fault of it becomes `BadItem`."""
    try:
        with open(open_to_read(path), "rb") as file:
            is_pointer = file.read(len(_LFS)) == _LFS
        if is_pointer:
            remedy = "get the tables themselves with git lfs pull"
            raise BadItem("it is a pointer of Git LFS and no table", str(path), remedy=remedy)
        with open_row_table(path) as table:
            yield table
    except BadItem:
        raise
    except (OSError, ValueError, LookupError, pa.ArrowException) as error:
        # Names and texts that are no UTF-8 are ValueErrors; a damaged table may lack what its own schema names.
        raise BadItem(f"the table cannot be read: {error}", str(path)) from error


def table_features(schema: pa.Schema, path: str) -> dict[str, Any]:
    """The features of `datasets` by column; none where the schema has no such metadata. Raises `BadItem`."""
    stated = (schema.metadata or {}).get(b"huggingface")
    content = parse_json(stated, path) if stated else {}
    info = content.get("info") if isinstance(content, dict) else None
    features = info.get("features") if isinstance(info, dict) else None
    return features if isinstance(features, dict) else {}


def _kind(feature: Any) -> str | None:
    kind = feature.get("_type") if isinstance(feature, dict) else None
    return kind if isinstance(kind, str) else None


def _is_image(field: pa.Field, features: dict[str, Any]) -> bool:
    if pa.types.is_struct(field.type):
        place = field.type.get_field_index(_BYTES)
        has_bytes = place >= 0 and holds_bytes(field.type.field(place).type)
    else:
        has_bytes = holds_bytes(field.type)
    stated = _kind(features.get(field.name))
    return has_bytes and stated in (None, "Image")


def holds_bytes(kind: pa.DataType) -> bool:
    """Whether a column of that type holds bytes, as those of images."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _label_columns(schema: pa.Schema, features: dict[str, Any]) -> list[str]:
    stated = [name for name in schema.names if _kind(features.get(name)) == "ClassLabel"]
    return stated or [name for name in schema.names if name in _LABELS][:1]


def _only_column(path: Path, what: str, found: Sequence[str]) -> str:
    if len(found) == 1:
        return found[0]
    listed = f"several columns of {what} ({', '.join(found)})" if found else f"no column of {what}"
    raise BadItem(f"has {listed}; one is expected", str(path))


def class_label_names(feature: Any, column: str, path: Path) -> tuple[str, ...] | None:
    """The names of classes by number, None where the feature is no ``ClassLabel``. Raises `BadItem` for odd ones."""
    names = feature.get("names") if _kind(feature) == "ClassLabel" else None
    if names is None:
        return None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise BadItem(f"the names of the classes of its column {column} are {shown(names)}", str(path))
    return tuple(names)


def column_values(batch: pa.RecordBatch, column: str) -> list[Any]:
    """The cells of a column, dotted where it is part of another one, as plain values."""
    top, *parts = column.split(".")
    cells = batch.column(batch.schema.get_field_index(top))
    for part in parts:
        cells = cells.field(part)
    return cells.to_pylist()
