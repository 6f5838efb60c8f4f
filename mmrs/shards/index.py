"""The side index: one Parquet file beside each tar, one row per sample, written in the same pass as the tar.

It carries all that planning, filtering, counting and packing need, so none of them opens a tar. The columns of further
images are written only where a sample of the shard has some, so that the index of one image a sample is what it was;
whoever reads an index gets empty lists in their place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
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
# Lists of one length, an entry a further image; the hashes of a shard of which nothing was decoded are null.
FURTHER_FIELDS = (
    pa.field("further_offset", pa.list_(pa.int64()), nullable=False),
    pa.field("further_size", pa.list_(pa.int64()), nullable=False),
    pa.field("further_sha256", pa.list_(pa.string()), nullable=False),
    pa.field("further_hash", pa.list_(pa.binary(FINGERPRINT_BYTES))),
)
WHOLE_SCHEMA = pa.schema([*INDEX_SCHEMA, *FURTHER_FIELDS], metadata=INDEX_SCHEMA.metadata)
IMAGE_PLACES = ("image_offset", "image_size", "further_offset", "further_size")
"""The columns that `image_places` asks for."""


def image_places(row: Mapping[str, Any]) -> list[tuple[int, int]]:
    """(offset, size) in bytes of every image of an index row, the first one first."""
    further = zip(row["further_offset"], row["further_size"], strict=True)
    return [(row["image_offset"], row["image_size"]), *further]


def without_further(field: pa.Field, rows: int) -> pa.Array:
    """A column of `FURTHER_FIELDS` for rows of one image each: empty lists."""
    offsets = pa.py_buffer(np.zeros(rows + 1, np.int32))
    return pa.Array.from_buffers(field.type, rows, [None, offsets], children=[pa.nulls(0, field.type.value_type)])


def write_index(file: BinaryIO, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows (keys of `WHOLE_SCHEMA`) as one Parquet file. Equal rows, equal bytes for one pyarrow version."""
    schema = WHOLE_SCHEMA if any(row.get("further_offset") for row in rows) else INDEX_SCHEMA
    unsaid = {field.name: () for field in FURTHER_FIELDS}
    columns = [column([row.get(field.name, unsaid.get(field.name)) for row in rows], field.type) for field in schema]
    table = pa.Table.from_arrays(columns, schema=schema)
    pq.write_table(table, file, compression="zstd", store_schema=True)


def differing_column(schema: pa.Schema) -> str:
    """The first column of an index that a schema lacks or has otherwise."""
    expected = WHOLE_SCHEMA if any(field.name in schema.names for field in FURTHER_FIELDS) else INDEX_SCHEMA
    return next((field.name for field in expected if not _has(schema, field)), "an unknown one")


def _has(schema: pa.Schema, field: pa.Field) -> bool:
    return field.name in schema.names and schema.field(field.name).equals(field)
