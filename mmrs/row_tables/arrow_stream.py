"""Arrow streams (``data-00000-of-00004.arrow`` of `Dataset.save_to_disk`, the files of its cache), batch by batch.

The file is mapped and not read: a batch of images is in memory as far as its rows are looked at. `pyarrow` opens a
stream from its start only, so the places of its batches are noted in one pass over their headers.

What a stranger's file may say is bounded before it is decoded: the length of a message by the file that is there (a
mapped file gives no more), compressed batches are refused, as 1 kB of them may say a gigabyte and `datasets` writes
none, and every offset of the columns that are asked for is checked before a value is looked at.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa

# A file that Arrow can read at any place: the same stream behind eight bytes.
_FILE_MAGIC = b"ARROW1\0\0"
# Fields of the tables of Arrow's Message.fbs, by their number.
_HEADER, _ROWS, _COMPRESSION = 2, 0, 3


class ArrowStream:
    """A table in an Arrow stream (`mmrs.row_tables.table.RowTable`); its groups are the batches of the stream.

    Raises:
        OSError, pa.ArrowException: no such file, no stream, or one with compressed or dictionary-encoded columns.
    """

    def __init__(self, path: Path) -> None:
        if path.stat().st_size == 0:
            raise pa.ArrowInvalid("the file is empty")
        self._file = pa.memory_map(str(path))
        try:
            self._file.seek(len(_FILE_MAGIC) if self._file.read(len(_FILE_MAGIC)) == _FILE_MAGIC else 0)
            first = self._read_message()
            if first.type != "schema":
                raise pa.ArrowInvalid(f"it begins with a message of type {first.type} and no schema")
            self.schema: pa.Schema = pa.ipc.read_schema(first)
            _check_no_dictionary(self.schema)
            self._places, self.group_rows = array("q"), array("q")
            self._note_batches()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def batches(self, group: int, rows: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """One batch of the stream in slices of at most `rows` rows, of the parts of columns that are asked for."""
        self._file.seek(self._places[group])
        whole = pa.ipc.read_record_batch(self._read_message(), self.schema)
        # Lengths and offsets are a stranger's. Arrow ends the process where a part of a column states a negative one,
        # and where a value lies behind an offset that leads out of the file: the first is looked at before any part is
        # taken, the second, which takes longer, in the parts that are read.
        whole.validate()
        batch = _with_parts(whole, columns)
        batch.validate(full=True)
        for start in range(0, len(batch), rows):
            yield batch.slice(start, rows)

    def _read_message(self) -> pa.Message:
        try:
            return pa.ipc.read_message(self._file)
        except EOFError as error:
            raise pa.ArrowInvalid("it ends where a message is expected") from error

    def _note_batches(self) -> None:
        size = self._file.size()
        while (place := self._file.tell()) < size:
            try:
                message = pa.ipc.read_message(self._file)
            except EOFError:  # The mark at the end; a footer may follow.
                return
            if message.type != "record batch":
                raise pa.ArrowInvalid(f"it has a message of type {message.type}; batches of rows are read")
            header = message.metadata.to_pybytes()
            self._places.append(place)
            self.group_rows.append(_batch_rows(header))


def _batch_rows(header: bytes) -> int:
    """The number of rows that the header of a batch states; `pyarrow` tells it of decoded batches alone."""
    try:
        (root,) = struct.unpack_from("<I", header, 0)
        message = _table_at(header, root, _HEADER)
        batch = None if message is None else message + struct.unpack_from("<I", header, message)[0]
        if batch is None:
            raise pa.ArrowInvalid("a batch has no header")
        if _table_at(header, batch, _COMPRESSION) is not None:
            raise pa.ArrowInvalid("its batches are compressed, which is not read: save it again without compression")
        place = _table_at(header, batch, _ROWS)
        rows = 0 if place is None else struct.unpack_from("<q", header, place)[0]
    except struct.error as error:
        raise pa.ArrowInvalid("the header of a batch is damaged") from error
    if rows < 0:
        raise pa.ArrowInvalid(f"a batch states {rows} rows")
    return int(rows)


def _table_at(data: bytes, table: int, field: int) -> int | None:
    """Where the value of a field of a flatbuffer's table lies, None where the table does not have it."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    if vtable < 0:
        raise struct.error("a table leads before its buffer")
    slot = 4 + 2 * field
    if slot >= struct.unpack_from("<H", data, vtable)[0]:
        return None
    offset = struct.unpack_from("<H", data, vtable + slot)[0]
    return table + offset if offset else None


def _check_no_dictionary(schema: pa.Schema) -> None:
    waiting = [(field.name, field.type) for field in schema]
    while waiting:
        name, kind = waiting.pop()
        if pa.types.is_dictionary(kind):
            raise pa.ArrowInvalid(f"its column {name} is encoded by a dictionary, which is not read")
        waiting += [(name, kind.field(place).type) for place in range(kind.num_fields)]


def _with_parts(batch: pa.RecordBatch, columns: Sequence[str]) -> pa.RecordBatch:
    """The batch with the asked parts of its columns, as a Parquet file gives them."""
    asked: dict[str, list[tuple[str, ...]]] = {}
    for column in columns:
        words = column.split(".")
        # A whole name may have dots too.
        ways = ((".".join(words[:depth]), words[depth:]) for depth in range(len(words), 0, -1))
        name, parts = next((way for way in ways if way[0] in batch.schema.names), (column, []))
        asked.setdefault(name, []).append(tuple(parts))
    missing = [name for name in asked if batch.schema.names.count(name) != 1]
    if missing:
        raise pa.ArrowInvalid(f"it has no column {missing[0]}, or several")
    arrays = {name: _parts_of(batch.column(batch.schema.get_field_index(name)), parts) for name, parts in asked.items()}
    return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


def _parts_of(values: pa.Array, parts: Sequence[tuple[str, ...]]) -> pa.Array:
    if () in parts or not pa.types.is_struct(values.type):
        return values
    inner: dict[str, list[tuple[str, ...]]] = {}
    for name, *rest in parts:
        inner.setdefault(name, []).append(tuple(rest))
    kept: Mapping[str, pa.Array] = {name: _parts_of(values.field(name), rest) for name, rest in inner.items()}
    return pa.StructArray.from_arrays(list(kept.values()), names=list(kept))
