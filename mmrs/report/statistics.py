"""What a data set holds, counted from its side indexes alone: no tar is opened.

The scan is lazy and reads only the columns that are counted, so a million samples need little memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from mmrs.errors import RunFailure, UserError
from mmrs.shards.manifest import Manifest
from mmrs.shards.reader import ShardSet
from mmrs.storage.atomic import atomic_folder, check_own
from mmrs.text import bytes_text, see_verify, table

SIDE_LIMITS_PX = (128, 256, 512, 1024, 2048, 4096)
CHARS_LIMITS = (64, 128, 256, 512, 1024, 2048, 4096)
_SHOWN_CLASSES = 40
_TABLES_FORMAT = "mmrs-statistics-1"
_COLUMNS = (
    "width", "height", "image_size", "label", "categories", "objects", "ignored_objects", "captions",
    "dialogue_tasks", "dialogue_chars", "reencoded",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Statistics:
    """Tables by name: ``source``, ``split``, ``sensor``, ``task``, ``class``, ``size``, ``text_length``.

    ``source``: licence, the splits meant for training, and what was found and not stored. ``split``: images, objects,
    ignored objects, captions, dialogues, image bytes and re-encoded images of each split, and the objects that a
    detection task was to list and no dialogue does, with their images. ``sensor``: the same by
    sensor. ``task``: dialogues, images and characters. ``class``: images that show an object of the class (kind
    ``object``) or are labelled with it (kind ``label``). ``size``: images by their longer side in pixels, ``up_to``
    inclusive, null for larger. ``text_length``: dialogues of a task by characters, likewise.
    """

    dataset_id: str
    tables: Mapping[str, pl.DataFrame]


def statistics(location: Path | str) -> Statistics:
    """Count a finished data set, in a folder or at a URL.

    Raises:
        UserError: there is no finished data set at `location`.
        RunFailure: an index is missing or has other columns, or a URL does not answer.
    """
    shards = ShardSet(location)
    manifest = shards.manifest
    shards.check_indexes(_COLUMNS)
    samples = samples_frame(manifest, shards.index_files())
    plans = {
        "source": _sources(manifest),
        "split": _splits(samples, manifest),
        "sensor": _totals(samples, "sensor"),
        "task": _tasks(samples),
        "class": _classes(samples),
        "size": _sizes(samples),
        "text_length": _text_lengths(samples),
    }
    try:
        frames = pl.collect_all(list(plans.values()))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunFailure(f"{location}: an index cannot be read: {error}. {see_verify(location)}") from error
    return Statistics(manifest.id, dict(zip(plans, frames, strict=True)))


def samples_frame(manifest: Manifest, indexes: Sequence[Path]) -> pl.LazyFrame:
    """One row per sample: source, sensor, split, and the counted columns of its index (one file for each shard)."""
    parts = [
        pl.scan_parquet(index)
        .select(_COLUMNS)
        .with_columns(
            source=pl.lit(shard.source), sensor=pl.lit(manifest.sources[shard.source].sensor), split=pl.lit(shard.split)
        )
        for shard, index in zip(manifest.shards, indexes, strict=True)
    ]
    if parts:
        return pl.concat(parts)
    kinds: dict[str, Any] = dict.fromkeys(_COLUMNS, pl.Int64) | dict.fromkeys(("label", "reencoded"), pl.String)
    kinds |= {"categories": pl.List(pl.String), "dialogue_tasks": pl.List(pl.String)}
    kinds |= {"dialogue_chars": pl.List(pl.Int64)} | dict.fromkeys(("source", "sensor", "split"), pl.String)
    return pl.LazyFrame(schema=kinds)


def _sources(manifest: Manifest) -> pl.LazyFrame:
    sums = ("quarantined_items", "quarantined_objects", "absent", "excluded")
    rows = [
        {"source": name, "sensor": source.sensor, "licence": source.licence}
        | {"trained_on": ", ".join(source.train_splits) or "nothing"}
        | {column: sum(getattr(counts, column) for counts in source.splits.values()) for column in sums}
        for name, source in sorted(manifest.sources.items())
    ]
    texts = dict.fromkeys(("source", "sensor", "licence", "trained_on"), pl.String)
    return pl.LazyFrame(rows, schema=texts | dict.fromkeys(sums, pl.Int64))


def _splits(samples: pl.LazyFrame, manifest: Manifest) -> pl.LazyFrame:
    unlisted = ("images_with_objects_in_no_dialogue", "objects_in_no_dialogue")
    rows = [
        {"source": name, "split": split} | {column: getattr(counts, column) for column in unlisted}
        for name, source in manifest.sources.items()
        for split, counts in source.splits.items()
    ]
    counted = pl.LazyFrame(
        rows, schema=dict.fromkeys(("source", "split"), pl.String) | dict.fromkeys(unlisted, pl.Int64)
    )
    by = ("source", "sensor", "split")
    return _totals(samples, *by).join(counted, on=("source", "split"), how="left").sort(by)


def _totals(samples: pl.LazyFrame, *by: str) -> pl.LazyFrame:
    sums = {"objects": "objects", "ignored_objects": "ignored_objects", "captions": "captions", "bytes": "image_size"}
    return (
        samples.group_by(by)
        .agg(
            images=pl.len(),
            dialogues=pl.col("dialogue_tasks").list.len().cast(pl.Int64).sum(),
            reencoded=pl.col("reencoded").is_not_null().sum(),
            **{name: pl.col(column).cast(pl.Int64).sum() for name, column in sums.items()},
        )
        .select(*by, "images", "objects", "ignored_objects", "captions", "dialogues", "reencoded", "bytes")
        .sort(by)
    )


def _dialogues(samples: pl.LazyFrame) -> pl.LazyFrame:
    rows = samples.select("dialogue_tasks", "dialogue_chars").with_row_index("image")
    return rows.explode("dialogue_tasks", "dialogue_chars").drop_nulls("dialogue_tasks")


def _tasks(samples: pl.LazyFrame) -> pl.LazyFrame:
    return (
        _dialogues(samples)
        .group_by(task="dialogue_tasks")
        .agg(
            dialogues=pl.len(),
            images=pl.col("image").n_unique(),
            characters=pl.col("dialogue_chars").cast(pl.Int64).sum(),
            median_characters=pl.col("dialogue_chars").median(),
            longest=pl.col("dialogue_chars").max(),
        )
        .sort("task")
    )


def _classes(samples: pl.LazyFrame) -> pl.LazyFrame:
    shown = samples.select("source", name="categories").explode("name").with_columns(kind=pl.lit("object"))
    labels = samples.select("source", name="label").with_columns(kind=pl.lit("label"))
    return (
        pl.concat([shown, labels])
        .drop_nulls("name")
        .group_by("source", "kind", "name")
        .agg(images=pl.len())
        .sort("images", "source", "kind", "name", descending=[True, False, False, False])
    )


def _sizes(samples: pl.LazyFrame) -> pl.LazyFrame:
    side = pl.max_horizontal("width", "height")
    return _binned(samples.with_columns(longer_side=side), "sensor", "longer_side", SIDE_LIMITS_PX, "images")


def _text_lengths(samples: pl.LazyFrame) -> pl.LazyFrame:
    rows = _dialogues(samples).rename({"dialogue_tasks": "task"})
    return _binned(rows, "task", "dialogue_chars", CHARS_LIMITS, "dialogues")


def _binned(rows: pl.LazyFrame, by: str, column: str, limits: tuple[int, ...], count: str) -> pl.LazyFrame:
    up_to = pl.lit(None, dtype=pl.Int64)
    for limit in reversed(limits):
        up_to = pl.when(pl.col(column) <= limit).then(pl.lit(limit, dtype=pl.Int64)).otherwise(up_to)
    counted = rows.with_columns(up_to=up_to).group_by(by, "up_to").agg(pl.len().alias(count))
    return counted.sort(by, "up_to", nulls_last=True)


def to_json(found: Statistics) -> bytes:
    """``{"dataset_id": ..., "tables": {name: [row, ...]}}``."""
    tables = {name: frame.to_dicts() for name, frame in found.tables.items()}
    content = {"dataset_id": found.dataset_id, "tables": tables}
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def write_parquet(found: Statistics, folder: Path) -> None:
    """One Parquet file per table, ``<name>.parquet``, in `folder`, which is replaced as a whole.

    Raises:
        UserError: the folder holds something else.
        FileExistsError: a file of such a name is not ours.
    """
    ours = {f"{name}.parquet" for name in found.tables}

    def holds_tables(there: Path) -> bool:
        return there.is_dir() and {path.name for path in there.iterdir()} <= ours

    if folder.exists() and not holds_tables(folder):
        raise UserError(f"{folder} holds more than tables of an earlier `mmrs stats`; name a new folder.")
    for path in folder.glob("*.parquet"):
        check_own(path, _TABLES_FORMAT.encode())
    with atomic_folder(folder, holds_tables) as temporary:
        for name, frame in found.tables.items():
            frame.write_parquet(temporary / f"{name}.parquet", metadata={"format": _TABLES_FORMAT})


def describe_statistics(found: Statistics) -> str:
    """The tables as text; of the classes the most frequent only."""
    parts = []
    for name, frame in found.tables.items():
        shown = frame.head(_SHOWN_CLASSES)
        rows = [[_cell(column, row[column]) for column in frame.columns] for row in shown.iter_rows(named=True)]
        parts.append(f"by {name.replace('_', ' ')}\n{table(frame.columns, rows)}")
        if len(frame) > len(shown):
            parts[-1] += f"\n... and {len(frame) - len(shown)} more (--json lists all)"
    return f"data set {found.dataset_id[:16]}\n\n" + "\n\n".join(parts)


def _cell(column: str, value: Any) -> Any:
    if column == "up_to" and value is None:
        return "more"
    if column == "bytes":
        return bytes_text(value)
    return value
