"""Seeds and parser of known copies on the Hub whose values are a stranger's: rows as JSON, damaged, in a sound table.

Damaged bytes of a Parquet file are mostly refused by pyarrow, before a cell is read. Here the table is whole and its
cells are not what the copy's page says: of other types, null, names that lead elsewhere, lists of other lengths.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

import converters
from converters.mirrors.known import load_mirrors
from mmrs.errors import BadItem

Parse = Callable[[bytes], Any]
_SHARED_MEMORY = Path("/dev/shm")
_CELLS: Mapping[str, Callable[[int], Any]] = {
    "captions": lambda number: ["a ship .", "two ships are here .", "a harbor"],
    "image_id": lambda number: number,
    "objects": lambda number: {
        "bbox": [[[1, 2, 30, 40]], [[5, 6, 70, 80]]],
        "captions": ["a ship", "the dam on the left"],
        "categories": ["ship", "dam"],
    },
}


def mirror_parsers() -> dict[str, tuple[list[bytes], Parse]]:
    """For each source with known copies: seeds, one a copy that is read, and the parser."""
    parsers = {}
    for name, known in load_mirrors().items():
        seeds = [_rows(name, mirror.columns) for mirror in known.copies if mirror.refused is None]
        if seeds:
            parsers[f"cells of copies of {name}"] = (seeds, _parser(name))
    return parsers


def _parser(name: str) -> Parse:
    source = converters.get(name, **({"mirror_splits": True} if name == "dior-rsvg" else {}))
    return lambda data: _read_rows(source, data)


def _rows(source: str, columns: Mapping[str, str]) -> bytes:
    """Three rows with the columns of a copy; classes by their names."""
    rows = []
    label = next(iter(converters.facts(source).classes), "")
    for number in range(3):
        row: dict[str, Any] = {columns["image"]: {"bytes": "x", "path": None}}
        for role, column in columns.items():
            if "." in column:
                row["objects"] = _CELLS["objects"](number)
            elif role == "name":
                row[column] = f"folder/{label or 'a'}_{number + 1:03d}.jpg"
            elif role == "label":
                row[column] = label
            elif role in _CELLS:
                row[column] = _CELLS[role](number)
        rows.append(row)
    return json.dumps(rows).encode()


def _read_rows(source: converters.Converter, data: bytes) -> None:
    """The rows as an Arrow stream of that copy, read as a build does."""
    try:
        rows = json.loads(data)
        for row in rows:
            row["image"]["bytes"] = str(row["image"]["bytes"]).encode(errors="surrogatepass")
        table = pa.Table.from_pylist(rows)
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        OverflowError,
        RecursionError,
        pa.ArrowException,
    ) as error:
        raise BadItem("the rows are no table", "x") from error
    with tempfile.TemporaryDirectory(dir=_SHARED_MEMORY if _SHARED_MEMORY.is_dir() else None) as name:
        folder = Path(name)
        with pa.ipc.new_stream(folder / "train.arrow", table.schema) as writer:
            writer.write_table(table)
        read_copy(source, folder)


def read_copy(source: converters.Converter, folder: Path) -> None:
    """Every item of a copy; those that are no good are skipped, as a build does."""
    for split in source.splits_in(folder):
        for item in source.discover(folder, split).items:
            try:
                source.read(item)
            except BadItem:
                continue
