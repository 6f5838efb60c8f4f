"""What a data set holds, counted from its side indexes alone: no tar is opened.

Only the columns that are counted are read, and of some shards at a time: the counts of all are sums of these, and a
median follows from how often each length occurs. So memory does not grow with the samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from mmrs.errors import RunFailure, UserError
from mmrs.shards.manifest import Manifest, ShardEntry
from mmrs.shards.reader import ShardSet
from mmrs.storage.atomic import atomic_folder, check_own
from mmrs.text import bytes_text, see_verify, table

SIDE_LIMITS_PX = (128, 256, 512, 1024, 2048, 4096)
CHARS_LIMITS = (64, 128, 256, 512, 1024, 2048, 4096)
_SHOWN_CLASSES = 40
# Of usual ones a quarter of a million samples, which take some 60 MB.
_SHARDS_TOGETHER = 64
_SPLIT_KEYS = ("source", "sensor", "split")
_LENGTH_KEYS = ("task", "characters")
_CLASS_KEYS = ("source", "kind", "name")
_SIZE_KEYS = ("sensor", "up_to")
_TOTALS = ("images", "objects", "ignored_objects", "captions", "dialogues", "reencoded", "bytes")
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
    counted: dict[str, pl.DataFrame] = {}
    try:
        for entries in _some_at_a_time(manifest.shards, shards.index_files()):
            counted = _added(counted, _counts(samples_frame(manifest, entries)))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunFailure(f"{location}: an index cannot be read: {error}. {see_verify(location)}") from error
    tables = {
        "source": _sources(manifest),
        "split": _splits(counted["split"], manifest),
        "sensor": counted["split"].group_by("sensor").agg(pl.sum(*_TOTALS)).select("sensor", *_TOTALS).sort("sensor"),
        "task": _tasks(counted["length"], counted["task"]),
        "class": counted["class"].sort("images", "source", "kind", "name", descending=[True, False, False, False]),
        "size": counted["size"].sort("sensor", "up_to", nulls_last=True),
        "text_length": _text_lengths(counted["length"]),
    }
    return Statistics(manifest.id, tables)


def _some_at_a_time(
    entries: Sequence[ShardEntry], indexes: Sequence[Path]
) -> Iterator[Sequence[tuple[ShardEntry, Path]]]:
    """All shards with their indexes in order, at least one list of them."""
    pairs = list(zip(entries, indexes, strict=True))
    for start in range(0, max(len(pairs), 1), _SHARDS_TOGETHER):
        yield pairs[start : start + _SHARDS_TOGETHER]


def _counts(samples: pl.LazyFrame) -> dict[str, pl.DataFrame]:
    """Counts of some samples by what tables are made of; the last column or columns are numbers that add up."""
    plans = {
        "split": _totals(samples, *_SPLIT_KEYS),
        "length": _dialogues(samples).group_by(_LENGTH_KEYS).agg(dialogues=pl.len()),
        "task": samples.select(task=pl.col("dialogue_tasks").list.unique())
        .explode("task")
        .drop_nulls("task")
        .group_by("task")
        .agg(images=pl.len()),
        "class": _classes(samples),
        "size": _sizes(samples),
    }
    return dict(zip(plans, pl.collect_all(list(plans.values())), strict=True))


def _added(before: Mapping[str, pl.DataFrame], more: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """The sums of two counts."""
    keys = {"split": _SPLIT_KEYS, "length": _LENGTH_KEYS, "task": ("task",), "class": _CLASS_KEYS, "size": _SIZE_KEYS}
    if not before:
        return dict(more)
    return {
        name: pl.concat([before[name], part]).group_by(keys[name]).agg(pl.all().sum()) for name, part in more.items()
    }


def samples_frame(manifest: Manifest, entries: Sequence[tuple[ShardEntry, Path]]) -> pl.LazyFrame:
    """One row per sample of these shards: source, sensor, split, and the counted columns of its index."""
    parts = [
        _counted_images(pl.scan_parquet(index), shard, manifest).with_columns(
            source=pl.lit(shard.source), sensor=pl.lit(manifest.sources[shard.source].sensor), split=pl.lit(shard.split)
        )
        for shard, index in entries
    ]
    if parts:
        return pl.concat(parts)
    kinds: dict[str, Any] = dict.fromkeys(_COLUMNS, pl.Int64) | dict.fromkeys(("label", "reencoded"), pl.String)
    kinds |= {"categories": pl.List(pl.String), "dialogue_tasks": pl.List(pl.String)}
    kinds["sample_images"] = pl.Int64
    kinds |= {"dialogue_chars": pl.List(pl.Int64)} | dict.fromkeys(("source", "sensor", "split"), pl.String)
    return pl.LazyFrame(schema=kinds)


def _counted_images(index: pl.LazyFrame, shard: ShardEntry, manifest: Manifest) -> pl.LazyFrame:
    """The counted columns, with the number of images of each sample and the bytes of all of them."""
    several = manifest.sources[shard.source].splits[shard.split].several_images
    # Only a split that has some is asked for the columns of further images: that opens each of its indexes once more.
    if not several or "further_size" not in index.collect_schema().names():
        return index.select(*_COLUMNS, sample_images=pl.lit(1, pl.Int64))
    further = pl.col("further_size").list
    counted = index.select(*_COLUMNS, "further_size").with_columns(
        image_size=pl.col("image_size") + further.sum(), sample_images=1 + further.len().cast(pl.Int64)
    )
    return counted.drop("further_size")


def _sources(manifest: Manifest) -> pl.DataFrame:
    sums = ("quarantined_items", "quarantined_objects", "absent", "excluded")
    rows = [
        {"source": name, "sensor": source.sensor, "licence": source.licence}
        | {"trained_on": ", ".join(source.train_splits) or "nothing"}
        | {column: sum(getattr(counts, column) for counts in source.splits.values()) for column in sums}
        for name, source in sorted(manifest.sources.items())
    ]
    texts = dict.fromkeys(("source", "sensor", "licence", "trained_on"), pl.String)
    return pl.DataFrame(rows, schema=texts | dict.fromkeys(sums, pl.Int64))


def _splits(totals: pl.DataFrame, manifest: Manifest) -> pl.DataFrame:
    unlisted = ("images_with_objects_in_no_dialogue", "objects_in_no_dialogue")
    rows = [
        {"source": name, "split": split} | {column: getattr(counts, column) for column in unlisted}
        for name, source in manifest.sources.items()
        for split, counts in source.splits.items()
    ]
    counted = pl.DataFrame(
        rows, schema=dict.fromkeys(("source", "split"), pl.String) | dict.fromkeys(unlisted, pl.Int64)
    )
    return totals.join(counted, on=("source", "split"), how="left").sort(_SPLIT_KEYS)


def _totals(samples: pl.LazyFrame, *by: str) -> pl.LazyFrame:
    sums = {"objects": "objects", "ignored_objects": "ignored_objects", "captions": "captions", "bytes": "image_size"}
    return (
        samples.group_by(by)
        .agg(
            images=pl.col("sample_images").sum().cast(pl.UInt32),
            dialogues=pl.col("dialogue_tasks").list.len().cast(pl.Int64).sum(),
            reencoded=pl.col("reencoded").is_not_null().sum(),
            **{name: pl.col(column).cast(pl.Int64).sum() for name, column in sums.items()},
        )
        .select(*by, *_TOTALS)
    )


def _dialogues(samples: pl.LazyFrame) -> pl.LazyFrame:
    rows = samples.select(task="dialogue_tasks", characters="dialogue_chars")
    return rows.explode("task", "characters").drop_nulls("task")


def _tasks(lengths: pl.DataFrame, images: pl.DataFrame) -> pl.DataFrame:
    """Of how often each length of a dialogue occurs in each task, and the images of each."""
    count, up_to_here = pl.col("dialogues").sum(), pl.col("dialogues").cum_sum()
    middle = ((count - 1) // 2, count // 2)
    below, above = (pl.col("characters").filter(up_to_here > place).first() for place in middle)
    return (
        lengths.sort(_LENGTH_KEYS)
        .group_by("task")
        .agg(
            dialogues=count,
            characters=(pl.col("characters").cast(pl.Int64) * pl.col("dialogues").cast(pl.Int64)).sum(),
            # As `median` of all of them: the mean of the two in the middle where their number is even.
            median_characters=(below.cast(pl.Float64) + above.cast(pl.Float64)) / 2,
            longest=pl.col("characters").max(),
        )
        .join(images, on="task")
        .select("task", "dialogues", "images", "characters", "median_characters", "longest")
        .sort("task")
    )


def _classes(samples: pl.LazyFrame) -> pl.LazyFrame:
    shown = samples.select("source", name="categories").explode("name").with_columns(kind=pl.lit("object"))
    labels = samples.select("source", name="label").with_columns(kind=pl.lit("label"))
    return pl.concat([shown, labels]).drop_nulls("name").group_by("source", "kind", "name").agg(images=pl.len())


def _sizes(samples: pl.LazyFrame) -> pl.LazyFrame:
    side = pl.max_horizontal("width", "height")
    return samples.group_by("sensor", up_to=_limit_of(side, SIDE_LIMITS_PX)).agg(images=pl.len())


def _text_lengths(lengths: pl.DataFrame) -> pl.DataFrame:
    up_to = _limit_of(pl.col("characters"), CHARS_LIMITS)
    counted = lengths.group_by("task", up_to=up_to).agg(pl.col("dialogues").sum())
    return counted.sort("task", "up_to", nulls_last=True)


def _limit_of(value: pl.Expr, limits: tuple[int, ...]) -> pl.Expr:
    """The smallest limit that is no less than the value, null for larger ones."""
    up_to = pl.lit(None, dtype=pl.Int64)
    for limit in reversed(limits):
        up_to = pl.when(value <= limit).then(pl.lit(limit, dtype=pl.Int64)).otherwise(up_to)
    return up_to


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
