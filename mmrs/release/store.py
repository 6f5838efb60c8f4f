"""An ingested release on disk: one Parquet file of rows per JSON file, a list of all files, and last ``release.json``.

``rows/<path>.parquet`` has one line per row: its exact bytes (`before`, `raw`) and what they say. The last line of each
has no `raw` and holds the bytes after the last row. A file that is no JSON array lies whole in ``verbatim/<path>``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, ValidationError

from mmrs.config import StrictModel
from mmrs.errors import UserError
from mmrs.record import canonical_json
from mmrs.release.names import Family

RELEASE_NAME = "release.json"
FILES_NAME = "files.parquet"
_NUMBERS = pa.list_(pa.list_(pa.float64()))
ROWS_SCHEMA = pa.schema(
    [
        pa.field("before", pa.binary(), nullable=False),
        pa.field("raw", pa.binary()),
        pa.field("image", pa.string()),
        pa.field("source", pa.string()),
        pa.field("sensor", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field(
            "tile",
            pa.struct([("parent", pa.string()), ("rate", pa.string()), ("left", pa.int64()), ("up", pa.int64())]),
        ),
        pa.field("problem", pa.string()),
        pa.field(
            "pairs",
            pa.list_(
                pa.struct(
                    [
                        ("task", pa.string()),
                        ("prompt", pa.string()),
                        ("answer", pa.string()),
                        (
                            "groups",
                            pa.list_(
                                pa.struct(
                                    [
                                        ("name", pa.string()),
                                        ("count", pa.int64()),
                                        ("numbers", _NUMBERS),
                                        ("pixels", _NUMBERS),
                                        ("degenerate", pa.int32()),
                                        ("unreadable", pa.int32()),
                                    ]
                                )
                            ),
                        ),
                    ]
                )
            ),
        ),
    ],
    metadata={"format": "mmrs-release-rows-1"},
)
FILES_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
    ],
    metadata={"format": "mmrs-release-files-1"},
)


class StoredFile(StrictModel):
    """One JSON file of the release. `stored` is relative to the ingest's folder; `bytes` and `sha256` are the file's.

    `problem` says why a file is kept whole instead of in rows.
    """

    path: str
    family: Family | None
    bytes: int
    sha256: str
    rows: int
    pairs: int
    bad_rows: int
    stored: str
    problem: str | None = None


class IgnoredFile(StrictModel):
    """A JSON file that was not kept, and why."""

    path: str
    bytes: int
    sha256: str
    reason: str


class Release(StrictModel):
    """What was ingested. `images` and `image_bytes` count the image files seen; `notes` are for a person."""

    format: Literal["mmrs-release-1"] = "mmrs-release-1"
    tool_version: str
    origin: Literal["archive", "folder"]
    parts: dict[str, int] = Field(default_factory=dict)
    files: tuple[StoredFile, ...]
    ignored: tuple[IgnoredFile, ...]
    images: int
    image_bytes: int
    stored_sha256: dict[str, str]
    notes: tuple[str, ...] = ()
    id: str = ""

    def with_id(self) -> Release:
        """The release with its id filled in: sha256 of the canonical JSON of everything but `id`."""
        return self.model_copy(update={"id": self.computed_id()})

    def computed_id(self) -> str:
        return hashlib.sha256(canonical_json(self.model_dump(mode="json", exclude={"id"}))).hexdigest()

    def to_json(self) -> bytes:
        """Readable JSON with sorted keys."""
        options = orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        return orjson.dumps(self.model_dump(mode="json"), option=options)


def load_release(folder: Path) -> Release:
    """Read and check an ingest's ``release.json``.

    Raises:
        UserError: none there (the ingest did not finish), a foreign file, or one that was changed.
    """
    path = folder / RELEASE_NAME
    if not path.is_file():
        raise UserError(
            f"{folder} has no {RELEASE_NAME}: it is no finished ingest. "
            f"Make one with `mmrs release ingest ARCHIVE --out {folder}`."
        )
    try:
        release = Release.model_validate(orjson.loads(path.read_bytes()))
    except (ValidationError, orjson.JSONDecodeError) as error:
        raise UserError(f"{path} is no ingest of a release: {error}. Ingest the archive again.") from error
    if release.computed_id() != release.id:
        raise UserError(f"{path} was changed after the ingest (its id is not that of its content). Ingest it again.")
    return release


def stored_rows(folder: Path, file: StoredFile, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Lines of one stored file (keys of `ROWS_SCHEMA`) in order, a batch in memory at a time; none of one kept whole.

    Raises:
        UserError: the file is missing or damaged.
    """
    if file.problem is not None:
        return
    try:
        with pq.ParquetFile(folder / file.stored) as table:
            for batch in table.iter_batches(batch_size=1024, columns=columns):
                yield from batch.to_pylist()
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise UserError(f"{folder / file.stored} cannot be read: {error}. Ingest the archive again.") from error


def release_files(folder: Path) -> pa.Table:
    """Every file of the release (columns of `FILES_SCHEMA`), sorted by path. Raises `UserError` if unreadable."""
    try:
        return pq.read_table(folder / FILES_NAME)
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise UserError(f"{folder / FILES_NAME} cannot be read: {error}. Ingest the archive again.") from error
