"""One way to read a table of rows, whatever file it is: its schema, the sizes of its groups, and batches of a group.

A group is read alone, in batches of a few rows, and of the columns that are asked for only: memory does not grow with
the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from mmrs.row_tables.arrow_stream import ArrowStream
from mmrs.row_tables.suffixes import ARROW_SUFFIX

_BUFFER_BYTES = 1 << 20


class RowTable(Protocol):
    """A table that is open. Its faults are OSError, ValueError, LookupError and `pa.ArrowException`."""

    @property
    def schema(self) -> pa.Schema:
        """Names, types and metadata of the columns."""
        ...

    @property
    def group_rows(self) -> Sequence[int]:
        """Number of rows of each group."""
        ...

    def batches(self, group: int, rows: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """One group in batches of at most `rows` rows with `columns`, dotted where they are parts of a struct."""
        ...


class _ParquetTable:
    def __init__(self, file: pq.ParquetFile) -> None:
        self._file = file
        self.schema: pa.Schema = file.schema_arrow
        metadata = file.metadata
        self.group_rows = tuple(metadata.row_group(group).num_rows for group in range(file.num_row_groups))

    def batches(self, group: int, rows: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        yield from self._file.iter_batches(rows, row_groups=[group], columns=list(columns), use_threads=False)


@contextmanager
def open_row_table(path: Path, buffered: bool = False) -> Iterator[RowTable]:
    """A table by its suffix, Parquet where that is another one.

    Args:
        buffered: read a column of long values in small pieces.

    Raises:
        OSError, ValueError, pa.ArrowException: no such file, or no table.
    """
    if path.suffix.lower() == ARROW_SUFFIX:
        with ArrowStream(path) as stream:
            yield stream
        return
    with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES if buffered else 0, pre_buffer=False) as file:
        yield _ParquetTable(file)
