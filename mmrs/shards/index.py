"""The side index: one Parquet file beside each tar, one row per sample, written in the same pass as the tar.

It carries all that planning, filtering, counting and packing need, so none of them opens a tar.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from mmrs.imaging.hashing import FINGERPRINT_BYTES
from mmrs.shards.columns import column

INDEX_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("image_offset", pa.int64(), nullable=False),
        pa.field("image_size", pa.int64(), nullable=False),
        pa.field("record_offset", pa.int64(), nullable=False),
        pa.field("record_size", pa.int64(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("scene", pa.string()),
        pa.field("label", pa.string()),
        pa.field("categories", pa.list_(pa.string()), nullable=False),
        pa.field("objects", pa.int32(), nullable=False),
        pa.field("ignored_objects", pa.int32(), nullable=False),
        pa.field("captions", pa.int32(), nullable=False),
        pa.field("dialogue_tasks", pa.list_(pa.string()), nullable=False),
        pa.field("dialogue_chars", pa.list_(pa.int32()), nullable=False),
        pa.field("perceptual_hash", pa.binary(FINGERPRINT_BYTES)),
        pa.field("reencoded", pa.string()),
        pa.field("sha256", pa.string(), nullable=False),
    ],
    metadata={"format": "mmrs-index-1"},
)


def write_index(file: BinaryIO, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows (keys of `INDEX_SCHEMA`) as one Parquet file. Equal rows, equal bytes for one pyarrow version."""
    columns = [column([row.get(field.name) for row in rows], field.type) for field in INDEX_SCHEMA]
    table = pa.Table.from_arrays(columns, schema=INDEX_SCHEMA)
    pq.write_table(table, file, compression="zstd", store_schema=True)


def differing_column(schema: pa.Schema) -> str:
    """The first column of `INDEX_SCHEMA` that a schema lacks or has otherwise."""
    return next((field.name for field in INDEX_SCHEMA if not _has(schema, field)), "an unknown one")


def _has(schema: pa.Schema, field: pa.Field) -> bool:
    return field.name in schema.names and schema.field(field.name).equals(field)
