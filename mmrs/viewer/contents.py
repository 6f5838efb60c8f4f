"""What stands in the records and in no index: the texts of every image, and the sizes of its objects.

The first question that needs them starts a process that reads all records once, shard by shard; questions are answered
meanwhile from what has been read, and are told how far that is. Records are read here without the checks of `Record`
(27 times as long), so only values of the right kind are taken.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from mmrs.engines.processes import ProcessPool
from mmrs.shards.reader import ShardSet

_COLUMNS = ("record_offset", "record_size")
_GROUPS = (
    ("captions", ()),
    ("questions", ("question", "answer")),
    ("expressions", ("text",)),
)


@dataclass(frozen=True)
class ShardContents:
    """Of a shard's R records: `texts`, lower case, a line each; sizes of the objects, with the place of their row."""

    texts: list[str]
    object_row: npt.NDArray[np.uint32]
    object_side: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Contents:
    """Of all N rows, as far as they have been read.

    Args:
        texts: N texts; null where the record has not been read yet.
        object_row: row of each object.
        object_side: its size: the square root of its area, in pixels.
        read, total: shards.
        failure: why the reading ended before its end; empty where it did not.
    """

    texts: pl.Series
    object_row: npt.NDArray[np.uint32]
    object_side: npt.NDArray[np.float32]
    read: int
    total: int
    failure: str = ""


class ContentsReader:
    """Reads on a thread of its own, which waits for one process; begins with the first `contents`."""

    def __init__(self, shards: ShardSet):
        self._shards = shards
        self._sizes = [shard.records for shard in shards.manifest.shards]
        self._first = np.cumsum([0, *self._sizes])
        self._found: list[ShardContents | None] = [None] * len(self._sizes)
        self._failure = ""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._joined: Contents | None = None

    def contents(self) -> Contents:
        """What has been read by now."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._read, name="contents", daemon=True)
                self._thread.start()
            read = sum(part is not None for part in self._found)
            if self._joined is None or self._joined.read != read or self._joined.failure != self._failure:
                self._joined = self._join(read)
            return self._joined

    def wait(self) -> None:
        """Until all is read."""
        self.contents()
        if self._thread is not None:
            self._thread.join()

    def _join(self, read: int) -> Contents:
        texts, rows, sides = [], [], []
        for first, size, part in zip(self._first.tolist(), self._sizes, self._found, strict=False):
            if part is None:
                texts.append(pl.Series("text", [None], pl.String).new_from_index(0, size))
            else:
                texts.append(pl.Series("text", part.texts, pl.String))
                rows.append(part.object_row + np.uint32(first))
                sides.append(part.object_side)
        empty = np.empty(0, np.uint32)
        return Contents(
            pl.concat(texts),
            np.concatenate([empty, *rows]),
            np.concatenate([empty.astype(np.float32), *sides]),
            read,
            len(self._sizes),
            self._failure,
        )

    def _read(self) -> None:
        # Two tasks at least, or the pool would not start a process.
        numbers = range(len(self._sizes))
        try:
            for position, part in _read_apart(self._shards, list(numbers)):
                with self._lock:
                    self._found[position] = part
        except Exception as error:
            self._failure = f"{type(error).__name__}: {error}"


def _read_apart(shards: ShardSet, numbers: list[int]) -> Iterator[tuple[int, ShardContents]]:
    pool = ProcessPool(2 if len(numbers) > _FEW_SHARDS else 1)
    yield from pool.run(partial(read_contents, shards), numbers, str, lambda text: None)


_FEW_SHARDS = 4


def read_contents(shards: ShardSet, number: int) -> ShardContents:
    """Texts and sizes of a shard's records. Raises as `ShardSet.index` and `ShardSet.read`."""
    index = shards.index(number, _COLUMNS)
    texts, rows, quads = [], [], []
    for row, (offset, size) in enumerate(zip(*(index[name].to_pylist() for name in _COLUMNS), strict=True)):
        record = _parsed(shards.read(number, offset, size))
        texts.append("\n".join(_texts(record)).lower())
        for item in _list(record, "objects"):
            quad = item.get("quad") if isinstance(item, dict) else None
            if _is_quad(quad):
                rows.append(row)
                quads.append(quad)
    shards.close()
    quads_N42 = np.array(quads, np.float64).reshape(-1, 4, 2)
    return ShardContents(texts, np.array(rows, np.uint32), sides(quads_N42).astype(np.float32))


def sides(quads_N42: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``(N,)``: the square root of the area of each quad, in pixels."""
    x, y = quads_N42[..., 0], quads_N42[..., 1]
    twice_area = (x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y).sum(axis=1)
    return np.sqrt(np.abs(twice_area) / 2)


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        # Its page says what is wrong with it.
        return {}
    return value if isinstance(value, dict) else {}


def _texts(record: dict[str, Any]) -> Iterator[str]:
    for name, keys in _GROUPS:
        for item in _list(record, name):
            values = [item] if not keys else [item.get(key) for key in keys] if isinstance(item, dict) else []
            yield from (value for value in values if isinstance(value, str))


def _list(record: dict[str, Any], name: str) -> list[Any]:
    value = record.get(name)
    return value if isinstance(value, list) else []


def _is_quad(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(isinstance(p, list) and len(p) == 2 and all(isinstance(v, int | float) for v in p) for p in value)
    )
