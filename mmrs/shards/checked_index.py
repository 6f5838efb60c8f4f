"""An index of a stranger: compared with the manifest before it is read, and every row with the tar before it is used.

A manifest vouches for digests, and whoever made it may have made an index that lies: about places outside of the tar,
about a thousand million rows, about lists of different lengths. All that is looked at here once, by columns: those that
are asked for, since unpacking the others would take most of the time of a command that counts.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmrs.errors import RunFailure
from mmrs.record import MOST_SAMPLE_IMAGES
from mmrs.shards.index import FURTHER_FIELDS, INDEX_SCHEMA, WHOLE_SCHEMA, differing_column, without_further
from mmrs.shards.manifest import ShardEntry
from mmrs.text import bytes_text

MOST_RECORD_BYTES = 64 * 2**20
MOST_IMAGE_BYTES = 2**30
# Of an index unpacked: a fixed part, and one for each row.
_FIXED_BYTES, _ROW_BYTES = 64 * 2**20, 64 * 2**10
# One value of a dictionary may stand in every row: so many bytes are unpacked at once.
_BATCH_BYTES = 256 * 2**20
_MOST_TEXT_BYTES = 64 * 2**10


def check_index(content: bytes, shard: ShardEntry, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a shard's index, in the order of its tar; whether it is the manifest's own file is not asked.

    Args:
        columns: are unpacked and looked at, in the order of `WHOLE_SCHEMA`; None: all.

    Raises:
        ValueError: another version of mmrs wrote it, it cannot be read, or says what cannot be; says what.
    """
    try:
        with pq.ParquetFile(io.BytesIO(content)) as opened:
            if not any(map(opened.schema_arrow.equals, (INDEX_SCHEMA, WHOLE_SCHEMA))):
                differing = differing_column(opened.schema_arrow)
                raise ValueError(f"not written by this version of mmrs: its columns differ, {differing!r} first")
            if (rows := opened.metadata.num_rows) != shard.records:
                raise ValueError(f"{rows} rows, the manifest says {shard.records}")
            table = _with_lists(_unpacked(opened, _schema_of(columns, opened.schema_arrow)), columns)
        table.validate(full=True)
    except (OSError, UnicodeDecodeError, pa.ArrowException, MemoryError, OverflowError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    for what in _impossible(table, shard):
        raise ValueError(what)
    return table


def read_checked_index(
    path: Path, shard: ShardEntry, where: str, advice: str, columns: Sequence[str] | None = None
) -> pa.Table:
    """`check_index` of a file, which must be the one that the manifest names.

    Raises:
        RunFailure: it is not, or as `check_index`; begins with `where` and ends with `advice`.
    """
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no file")
        with path.open("rb") as file:
            content = file.read(shard.index_bytes + 1)
        if len(content) != shard.index_bytes or hashlib.sha256(content).hexdigest() != shard.index_sha256:
            raise ValueError("not the file that the manifest names")
        return check_index(content, shard, columns)
    except (OSError, ValueError) as error:
        raise RunFailure(f"{where}: the index cannot be used: {error}. {advice}") from error


def _schema_of(columns: Sequence[str] | None, written: pa.Schema) -> pa.Schema:
    fields = [field for field in written if columns is None or field.name in columns]
    # Without any column a table would have no rows.
    return pa.schema(fields or [INDEX_SCHEMA.field("image_size")], metadata=INDEX_SCHEMA.metadata)


def _with_lists(table: pa.Table, columns: Sequence[str] | None) -> pa.Table:
    """The table with the asked columns, those of further images too where none was written."""
    for field in FURTHER_FIELDS:
        if field.name not in table.column_names:
            table = table.append_column(field, without_further(field, len(table)))
    return table.select([name for name in WHOLE_SCHEMA.names if columns is None or name in columns])


def _unpacked(opened: pq.ParquetFile, schema: pa.Schema) -> pa.Table:
    """All rows, some at a time, none of them once the bound is passed."""
    metadata = opened.metadata
    most = _FIXED_BYTES + _ROW_BYTES * metadata.num_rows
    # Of whole row groups: where statistics of a column are damaged, asking pyarrow for that column ends the process.
    groups = [metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)]
    if sum(groups) > most:
        raise ValueError(f"{bytes_text(sum(groups))} unpacked, more than {bytes_text(most)} for its rows")
    batches: list[pa.RecordBatch] = []
    size = rows = 0
    rows_at_once = max(1, min(65_536, _BATCH_BYTES // max([1, *groups])))
    for batch in opened.iter_batches(rows_at_once, columns=schema.names):
        size, rows = size + batch.nbytes, rows + len(batch)
        if size > most or rows > metadata.num_rows:
            raise ValueError(f"more than {bytes_text(most)} for {metadata.num_rows} rows")
        batches.append(batch)
    return pa.Table.from_batches(batches, schema)


def _impossible(table: pa.Table, shard: ShardEntry) -> Iterator[str]:
    """What cannot be, the first of it first."""
    if len(table) != shard.records:
        yield f"{len(table)} rows, the manifest says {shard.records}"
    there = set(table.column_names)
    for field in table.schema:
        yield from _faults_of_column(table[field.name], field)
    for name, most in (("image", MOST_IMAGE_BYTES), ("record", MOST_RECORD_BYTES)):
        offset, size = f"{name}_offset", f"{name}_size"
        if {offset, size} <= there:
            yield from _faults_of_places(name, table[offset], table[size], most, shard.bytes)
        elif size in there and not (_least(table[size], 1) >= 1 and _most(table[size]) <= most):
            yield f"{name}s of no or negative size, or of more than {bytes_text(most)}"
    yield from _faults_of_further(table, shard.bytes)
    least = {"width": 1, "height": 1, "objects": 0, "ignored_objects": 0, "captions": 0}
    for name in least.keys() & there:
        if (found := _least(table[name], least[name])) < least[name]:
            yield f"{name} of {found}"
    if "dialogue_chars" in there and _least(pc.list_flatten(table["dialogue_chars"])) < 0:
        yield "a dialogue of negative length"
    if {"dialogue_tasks", "dialogue_chars"} <= there:
        tasks, lengths = (pc.list_value_length(table[name]) for name in ("dialogue_tasks", "dialogue_chars"))
        if not pc.all(pc.equal(tasks, lengths)).as_py():
            yield "a row with another number of dialogues than of their lengths"
    digest = "^[0-9a-f]{64}$"
    patterns = {"id": f"^{re.escape(f'{shard.source}/{shard.split}/')}.", "sha256": digest, "further_sha256": digest}
    for name in patterns.keys() & there:
        texts = pc.list_flatten(table[name]) if pa.types.is_list(table.schema.field(name).type) else table[name]
        if not pc.all(pc.match_substring_regex(texts, patterns[name]), min_count=0).as_py():
            yield f"{name} that does not match {patterns[name]}"


def _faults_of_further(table: pa.Table, tar_bytes: int) -> Iterator[str]:
    lists = {name: table[name] for name in table.column_names if name in {field.name for field in FURTHER_FIELDS}}
    if not lists:
        return
    lengths = [pc.list_value_length(column) for column in lists.values()]
    if max(map(_most, lengths)) >= MOST_SAMPLE_IMAGES:
        yield f"a row of more than {MOST_SAMPLE_IMAGES} images"
    # A list of hashes may be null, which compares as null and counts as equal.
    if not all(pc.all(pc.equal(lengths[0], other), min_count=0).as_py() for other in lengths):
        yield f"a row with different numbers of further images in {', '.join(lists)}"
    if {"further_offset", "further_size"} <= lists.keys():
        offset, size = (pc.list_flatten(lists[name]) for name in ("further_offset", "further_size"))
        if len(offset) == len(size):
            yield from _faults_of_places("further image", offset, size, MOST_IMAGE_BYTES, tar_bytes)


def _faults_of_column(column: pa.ChunkedArray, field: pa.Field) -> Iterator[str]:
    if not field.nullable and column.null_count:
        yield f"a row without {field.name}"
    if pa.types.is_list(field.type):
        column = pc.list_flatten(column)
        if column.null_count:
            yield f"an entry without a value in {field.name}"
    if pa.types.is_string(column.type) and _most(pc.binary_length(column)) > _MOST_TEXT_BYTES:
        yield f"a text of more than {bytes_text(_MOST_TEXT_BYTES)} in {field.name}"


def _faults_of_places(
    name: str, offset: pa.ChunkedArray, size: pa.ChunkedArray, most: int, tar_bytes: int
) -> Iterator[str]:
    if _least(offset) < 0 or _least(size, 1) < 1:
        yield f"{name}s at negative places, or of no or negative size"
    # Places and sizes are bounded first, so that their sum cannot overflow.
    elif _most(size) > most or max(_most(size), _most(offset)) > tar_bytes or _most(pc.add(offset, size)) > tar_bytes:
        yield f"{name}s of more than {bytes_text(most)}, or that end after the tar's {tar_bytes} bytes"


def _least(column: pa.ChunkedArray, empty: int = 0) -> int:
    found = pc.min(column).as_py()
    return empty if found is None else found


def _most(column: pa.ChunkedArray) -> int:
    return pc.max(column).as_py() or 0
