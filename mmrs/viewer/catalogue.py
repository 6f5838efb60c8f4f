"""What is known of every image before one is opened: the indexes as columns, and what other commands found out.

A million rows take some hundred megabytes: words that repeat are stored once, and the lists of an index (classes,
tasks) are turned round, into the rows that have each word.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from mmrs.errors import RunFailure
from mmrs.shards.index import IMAGE_PLACES, image_places
from mmrs.shards.reader import ShardSet
from mmrs.viewer.findings import Findings, find_rows, load_findings

_COLUMNS = (
    "id", *IMAGE_PLACES, "record_offset", "record_size", "width", "height", "label", "categories",
    "objects", "dialogue_tasks", "reencoded",
)  # fmt: skip
_KEPT = ("id", *IMAGE_PLACES, "record_offset", "record_size", "width", "height", "objects")
_WORDS = {"task": ("dialogue_tasks",), "class": ("categories", "label"), "reencoded": ("reencoded",)}
# At a URL most of the time is waiting.
_THREADS, _URL_THREADS = 4, 16

RowMask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class WordColumn:
    """Words that rows have, several each or none: entry ``words[code]`` stands in ``row``."""

    words: tuple[str, ...]
    row: npt.NDArray[np.uint32]
    code: npt.NDArray[np.uint32]

    def rows_with(self, wanted: Sequence[str], total: int) -> RowMask:
        """``(total,)``: rows that have one of the words."""
        codes = [self.words.index(word) for word in wanted if word in self.words]
        mask = np.zeros(total, bool)
        mask[self.row[np.isin(self.code, codes)]] = True
        return mask

    def counts(self) -> dict[str, int]:
        """Rows of each word, the most frequent first."""
        found = np.bincount(self.code, minlength=len(self.words)).tolist()
        pairs = sorted(zip(self.words, found, strict=True), key=lambda pair: (-pair[1], pair[0]))
        return {word: count for word, count in pairs if count}


@dataclass
class Catalogue:
    """N images in manifest order.

    Args:
        shards: the data set; read through `image` and `record_bytes`, which threads may share.
        frame: N rows: id, places, size of the image, number of objects, shard.
        words: by name: source, split, sensor, task, class, reencoded.
        findings: of curation and quarantine.
    """

    shards: ShardSet
    frame: pl.DataFrame
    words: dict[str, WordColumn]
    findings: Findings
    # A descriptor may be closed by one reader while another one opens a shard.
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def data_set_id(self) -> str:
        """sha256 of the manifest."""
        return self.shards.manifest.id

    def row(self, number: int) -> dict[str, Any]:
        """The index row of an image."""
        return self.frame.row(number, named=True)

    def number_of(self, record_id: str) -> int | None:
        """The row of a record; None where it is not in the data set."""
        return self.rows_of([record_id]).get(record_id)

    def rows_of(self, record_ids: Iterable[str]) -> dict[str, int]:
        """The row of each of the records that is in the data set."""
        return find_rows(self.frame["id"], record_ids)

    def image(self, number: int, place: int = 0) -> bytes:
        """The stored image, of several the one at `place`. Raises as `ShardSet.read`, and IndexError for none there."""
        with self._lock:
            row = self.row(number)
            return self.shards.read(row["shard"], *image_places(row)[place])

    def record_bytes(self, number: int) -> bytes:
        """The record as canonical JSON. Raises as `ShardSet.read`."""
        with self._lock:
            return self.shards.record_bytes(self.row(number))


def load_catalogue(location: Path | str, ended: threading.Event | None = None) -> Catalogue:
    """Read the indexes of a finished data set.

    Args:
        location: its folder or URL.
        ended: nobody waits any more once this is set.

    Raises:
        UserError: there is none, or what was found out about it belongs to another.
        RunFailure: an index is damaged, a URL does not answer, or nobody waits any more.
    """
    shards = _opened(location)
    ended = ended or threading.Event()

    def read(number: int) -> _IndexPart:
        if ended.is_set():
            raise RunFailure("nobody waits for the indexes any more")
        return _read_part(shards, number)

    threads = _THREADS if isinstance(shards.location, Path) else _URL_THREADS
    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(read, range(len(shards.manifest.shards))))
    frame, words = _assembled(shards, parts)
    return Catalogue(shards, frame, words, load_findings(shards, frame["id"]))


def load_first_shard(location: Path | str) -> Catalogue:
    """The first rows of the same, by the same numbers, from one index: what can be shown while the others are read.

    Raises:
        UserError, RunFailure: as `load_catalogue`.
    """
    shards = _opened(location)
    frame, words = _assembled(shards, [_read_part(shards, 0)])
    return Catalogue(shards, frame, words, Findings())


_IndexPart = tuple[pa.Table, list[WordColumn]]


def _opened(location: Path | str) -> ShardSet:
    shards = ShardSet(location)
    if not shards.manifest.shards:
        raise RunFailure(f"{location} holds no image: `mmrs build` stored none, see its quarantine.jsonl.")
    return shards


def _read_part(shards: ShardSet, number: int) -> _IndexPart:
    table = shards.index(number, _COLUMNS)
    return table.select(list(_KEPT)), [_words_of(table.select(list(columns))) for columns in _WORDS.values()]


def _assembled(shards: ShardSet, parts: Sequence[_IndexPart]) -> tuple[pl.DataFrame, dict[str, WordColumn]]:
    """Rows and words of the first shards, as many as there are parts."""
    manifest = shards.manifest
    entries = manifest.shards[: len(parts)]
    sizes = [len(table) for table, _ in parts]
    shard_N = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    words = {
        "source": _of_shards([shard.source for shard in entries], shard_N),
        "split": _of_shards([shard.split for shard in entries], shard_N),
        "sensor": _of_shards([manifest.sources[shard.source].sensor for shard in entries], shard_N),
    }
    for number, name in enumerate(_WORDS):
        words[name] = _joined([columns[number] for _, columns in parts], sizes)
    table = pa.concat_tables([table for table, _ in parts])
    frame = pl.DataFrame(pl.from_arrow(table)).with_columns(shard=pl.Series(shard_N))
    return frame.rechunk(), words


def _of_shards(values: Sequence[str], shard_N: npt.NDArray[np.int32]) -> WordColumn:
    words = tuple(sorted(set(values)))
    of_shard = np.array([words.index(value) for value in values], np.uint32)
    return WordColumn(words, np.arange(len(shard_N), dtype=np.uint32), of_shard[shard_N])


def _words_of(table: pa.Table) -> WordColumn:
    """The words of one or several columns of a shard, of texts or lists of texts; a word counts once a row.

    By Arrow's dictionaries, shard by shard: of a million rows at once `explode` and categories of polars take 0.9 s.
    """
    rows, codes = [], []
    words: list[str] = []
    for column in table.columns:
        row = np.arange(len(column), dtype=np.uint64)
        if pa.types.is_list(column.type):
            row = np.repeat(row, _numbers(pc.list_value_length(column)))
            column = pc.list_flatten(column)
        encoded = column.combine_chunks().dictionary_encode()
        rows.append(row[_numbers(encoded.is_valid())])
        codes.append(_numbers(encoded.indices.drop_null()).astype(np.uint64) + np.uint64(len(words)))
        words += encoded.dictionary.to_pylist()
    names = tuple(sorted(set(words)))
    code = _renumbered(words, names)[np.concatenate(codes).astype(np.intp)]
    base = np.uint64(max(1, len(names)))
    # `numpy.unique`, which counts by a hash table, takes ten times as long.
    pairs = np.sort(np.concatenate(rows) * base + code)
    pairs = pairs[np.diff(pairs, prepend=np.uint64(2**64 - 1)) != 0]
    return WordColumn(names, (pairs // base).astype(np.uint32), (pairs % base).astype(np.uint32))


def _joined(parts: Sequence[WordColumn], sizes: Sequence[int]) -> WordColumn:
    """The columns of all shards, which have so many rows each, as one."""
    words = tuple(sorted({word for part in parts for word in part.words}))
    first = np.cumsum([0, *sizes]).tolist()
    rows = [part.row + np.uint32(start) for part, start in zip(parts, first, strict=False)]
    codes = [_renumbered(part.words, words)[part.code].astype(np.uint32) for part in parts]
    return WordColumn(words, np.concatenate(rows), np.concatenate(codes))


def _renumbered(words: Sequence[str], names: Sequence[str]) -> npt.NDArray[np.uint64]:
    """The place of each of the words among the names."""
    place = {name: number for number, name in enumerate(names)}
    return np.array([place[word] for word in words], np.uint64)


def _numbers(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[Any]:
    # pyarrow's own `to_numpy` imports pandas, where that is installed: see `mmrs.shards.columns`.
    return pl.Series(pl.from_arrow(column)).to_numpy()
