"""Tables for the Hub's own viewer: thumbnails with captions, labels, a question and its answer.

They are a repository of their own, ``NAME-viewer``: `datasets` and the Hub read all configurations of a repository by
one reader, which the first of them decides, so Parquet beside tars would be opened as tars. Row groups are small and
have a page index, so that a page of the viewer fetches little. `viewer.json` names the files with their digests: by it
a later push knows which of them are its own.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from mmrs.hub.card import SourceNote, licence_entries, licence_section, size_category
from mmrs.hub.configs import hub_split_name
from mmrs.progress import Progress
from mmrs.record import Record
from mmrs.shards.manifest import Manifest
from mmrs.shards.reader import ShardSet
from mmrs.storage.atomic import file_sha256

VIEWER_LIST_NAME = "viewer.json"
_FORMAT = "mmrs-viewer-1"
_ROWS_OF_A_GROUP = 50
_TEXTS = ("id", "source", "sensor", "licence", "label", "caption", "question", "answer")
_STRING = {"dtype": "string", "_type": "Value"}
_FEATURES: dict[str, Any] = {
    "image": {"_type": "Image"},
    **dict.fromkeys(_TEXTS, _STRING),
    "objects": {"feature": _STRING, "_type": "List"},
}
_SCHEMA = pa.schema(
    [
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        *((name, pa.string()) for name in _TEXTS),
        ("objects", pa.list_(pa.string())),
    ],
    metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}}, allow_nan=False)},
)


@dataclass(frozen=True, slots=True)
class ViewerTable:
    """The table of one split: a file on disk, and its name in the repository."""

    name: str
    path: Path
    source: str
    split: str
    rows: int
    sha256: str

    @property
    def bytes(self) -> int:
        return self.path.stat().st_size


def write_viewer_tables(
    location: Path | str, folder: Path, images: int, small: Callable[[Sequence[bytes]], bytes], progress: Progress
) -> list[ViewerTable]:
    """Write a table for each split of a data set into an empty folder.

    Args:
        images: at most so many of each split, the first of its shards, whose order is the build's seeded one.
        small: makes the JPEG of a thumbnail from a stored image, or from several of one sample; raises ValueError where
            one cannot be decoded.

    Raises:
        UserError: there is no finished data set at `location`.
        RunFailure: an image or a record is damaged.
    """
    shards = ShardSet(location)
    by_split: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, entry in enumerate(shards.manifest.shards):
        by_split[entry.source, entry.split].append(number)
    total = sum(min(images, sum(shards.manifest.shards[n].records for n in numbers)) for numbers in by_split.values())
    tables = []
    with progress.stage("viewer", total, "images") as advance:
        for (source, split), numbers in sorted(by_split.items()):
            path = folder / f"{source}-{split}.parquet"
            rows = _write(_rows(shards, numbers, images, small), path, advance)
            name = f"{source}/{split}.parquet"
            tables.append(ViewerTable(name, path, source, split, rows, file_sha256(path)))
    shards.close()
    return tables


def _write(rows: Iterator[dict[str, Any]], path: Path, advance: Callable[[int], None]) -> int:
    count = 0
    group: list[dict[str, Any]] = []
    # Bounds of pictures say nothing and would be two of them in each group.
    options = {"write_statistics": list(_TEXTS), "write_page_index": True, "use_content_defined_chunking": True}
    with pq.ParquetWriter(path, _SCHEMA, compression="zstd", store_schema=True, **options) as writer:
        for row in rows:
            group.append(row)
            if len(group) == _ROWS_OF_A_GROUP:
                writer.write_table(pa.Table.from_pylist(group, _SCHEMA))
                group = []
            count += 1
            advance(1)
        if group:
            writer.write_table(pa.Table.from_pylist(group, _SCHEMA))
    return count


def _rows(
    shards: ShardSet, numbers: Sequence[int], images: int, small: Callable[[Sequence[bytes]], bytes]
) -> Iterator[dict[str, Any]]:
    left = images
    for number in numbers:
        for row in shards.rows([number]).slice(0, left).to_pylist():
            yield _row(shards.record(row), _small(shards, row, small), row["key"])
            left -= 1
        if not left:
            return


def _small(shards: ShardSet, row: dict[str, Any], small: Callable[[Sequence[bytes]], bytes]) -> bytes:
    try:
        return small(shards.images(row))
    except (OSError, ValueError) as error:
        raise shards.damaged(row, str(error)) from error


def _row(record: Record, image: bytes, key: str) -> dict[str, Any]:
    turns = record.dialogues[0].turns if record.dialogues else ()
    return {
        "image": {"bytes": image, "path": f"{key}.jpg"},
        "id": record.id,
        "source": record.source,
        "sensor": record.sensor,
        "licence": record.licence,
        "label": record.label,
        "caption": record.captions[0] if record.captions else None,
        "question": turns[0].value if turns else None,
        "answer": turns[1].value if len(turns) > 1 else None,
        "objects": sorted({thing.category for thing in record.objects if not thing.ignore}),
    }


def viewer_card(
    manifest: Manifest, repo: str, tables: Sequence[ViewerTable], notes: Mapping[str, SourceNote] | None = None
) -> str:
    """The card of the tables of a data set.

    Args:
        repo: ``ORG/NAME`` of the data set itself.
        notes: as `mmrs.hub.card.make_card`.
    """
    by_split: dict[str, list[ViewerTable]] = defaultdict(list)
    for one in tables:
        by_split[hub_split_name(one.split)].append(one)
    splits = [
        {"name": split, "num_bytes": sum(t.bytes for t in same), "num_examples": sum(t.rows for t in same)}
        for split, same in sorted(by_split.items())
    ]
    size, rows = sum(one.bytes for one in tables), sum(one.rows for one in tables)
    texts = [{"name": name, "dtype": "string"} for name in _TEXTS]
    features = [{"name": "image", "dtype": "image"}, *texts, {"name": "objects", "list": "string"}]
    files = [{"split": split, "path": [one.name for one in same]} for split, same in sorted(by_split.items())]
    front = {
        "pretty_name": f"{repo.rpartition('/')[2]}: a look",
        "language": ["en"],
        **licence_entries(manifest, repo),
        "tags": ["remote-sensing", "earth-observation"],
        "size_categories": [size_category(rows)],
        "configs": [{"config_name": "default", "data_files": files}],
        "dataset_info": {"features": features, "splits": splits, "download_size": size, "dataset_size": size},
    }
    text = (
        f"# A look at {repo}\n\n{rows:,} of its images as thumbnails, with captions, labels, and the first question "
        f"and answer of each. No training data: that is [{repo}](https://huggingface.co/datasets/{repo}), data set id "
        f"`{manifest.id}`."
    )
    yaml_text = yaml.safe_dump(front, sort_keys=False, width=10**9)
    return f"---\n{yaml_text}---\n\n{text}\n\n{licence_section(manifest, notes or {})}\n"


def viewer_list(tables: Sequence[ViewerTable]) -> bytes:
    """The content of `viewer.json`."""
    values = {"format": _FORMAT, "files": {one.name: one.sha256 for one in tables}}
    return orjson.dumps(values, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def listed_tables(content: bytes) -> Mapping[str, str]:
    """Name -> sha256 of the tables that an earlier `viewer.json` names; none where it is somebody else's."""
    try:
        values = orjson.loads(content)
        files = values["files"] if values["format"] == _FORMAT else {}
        return {str(name): str(digest) for name, digest in files.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}
