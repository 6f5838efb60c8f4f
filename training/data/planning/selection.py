"""Which samples and dialogues a run sees, as plain arrays taken from the side indexes alone.

Shape legend: R rows (samples), D dialogues, F images after the first of all rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmrs.errors import UserError
from mmrs.record import Record
from mmrs.shards.index import IMAGE_PLACES
from mmrs.shards.reader import ShardSet
from mmrs.text import nearest

_COLUMNS = ("id", "sha256", *IMAGE_PLACES, "further_sha256", "record_offset", "record_size", "dialogue_tasks")


@dataclass(frozen=True)
class Selection:
    """Samples with at least one selected dialogue, in manifest order; dialogues in record order.

    `parts` are the ``<source>/<split>`` that they come from, sorted.

    Row arrays have shape (R,), dialogue arrays (D,). `images` is the number of images of each row; those after the
    first are at ``further_start[row]`` and behind it in the arrays (F,). `dialogue_row` never decreases. `shard_run`
    numbers the runs of rows that lie in one tar, so rows of equal `shard_run` are neighbours on disk.
    """

    sets: tuple[ShardSet, ...]
    data_set_id: str
    parts: tuple[str, ...]
    ids: pa.Array
    sha256: pa.Array
    set_number: np.ndarray
    shard: np.ndarray
    shard_run: np.ndarray
    image_offset: np.ndarray
    image_size: np.ndarray
    record_offset: np.ndarray
    record_size: np.ndarray
    images: np.ndarray
    further_start: np.ndarray
    further_offset: np.ndarray
    further_size: np.ndarray
    further_sha256: pa.Array
    sources: tuple[str, ...]
    source: np.ndarray
    tasks: tuple[str, ...]
    dialogue_row: np.ndarray
    dialogue_number: np.ndarray
    dialogue_task: np.ndarray

    def __len__(self) -> int:
        return len(self.shard)

    def sample_id(self, row: int) -> str:
        return self.ids[row].as_py()

    def record(self, row: int) -> Record:
        """Read and validate one record. Raises OSError or ValueError when the member is broken."""
        return Record.from_json(self.record_bytes(row))

    def record_bytes(self, row: int) -> bytes:
        """The record of one row as canonical JSON, not parsed. Raises OSError when the shard ends before it."""
        return self._read(row, int(self.record_offset[row]), int(self.record_size[row]))

    def image(self, row: int) -> bytes:
        """The stored bytes of one row's first image. Raises OSError when the shard ends before them."""
        return self._read(row, int(self.image_offset[row]), int(self.image_size[row]))

    def images_of(self, row: int) -> list[bytes]:
        """The stored bytes of all images of one row. Raises as `image`."""
        further = zip(self.further_offset[self._further(row)], self.further_size[self._further(row)], strict=True)
        return [self.image(row), *(self._read(row, int(offset), int(size)) for offset, size in further)]

    def digests_of(self, row: int) -> list[str]:
        """The sha256 of all images of one row, as the index has them."""
        return [self.sha256[row].as_py(), *self.further_sha256[self._further(row)].to_pylist()]

    @cached_property
    def further_bytes(self) -> np.ndarray:
        """Bytes of the images after the first of each row (R,)."""
        row_F = np.repeat(np.arange(len(self)), self.images - 1)
        return np.bincount(row_F, self.further_size, minlength=len(self)).astype(np.int64)

    def _further(self, row: int) -> slice:
        start = int(self.further_start[row])
        return slice(start, start + int(self.images[row]) - 1)

    def fetch(self, rows: Sequence[int]) -> None:
        """Bring the shards of these rows here, where the data set lies elsewhere.

        Raises:
            RunFailure: a shard cannot be fetched.
        """
        for number, shards in enumerate(self.sets):
            shards.fetch({int(self.shard[row]) for row in rows if self.set_number[row] == number})

    def _read(self, row: int, offset: int, size: int) -> bytes:
        return self.sets[self.set_number[row]].read(int(self.shard[row]), offset, size)


def select(
    locations: Sequence[Path | str],
    splits: Sequence[str] | None = None,
    sources: tuple[str, ...] | None = None,
    tasks: tuple[str, ...] | None = None,
) -> Selection:
    """`select_from` the data sets in folders or at URLs, which are downloaded as `Downloads` does by default."""
    return select_from([ShardSet(location) for location in locations], splits, sources, tasks)


def select_from(
    sets: Sequence[ShardSet],
    splits: Sequence[str] | None = None,
    sources: tuple[str, ...] | None = None,
    tasks: tuple[str, ...] | None = None,
) -> Selection:
    """Keep the rows of `splits` that have a dialogue of `tasks` (None: all).

    Args:
        splits: of all sources alike; None for those that each source was built to train on.

    Raises:
        UserError: a folder is no finished data set, lacks the splits or a file, is given twice, or nothing is left.
        RunFailure: a URL does not answer.
    """
    sets = tuple(sets)
    ids = [shards.manifest.id for shards in sets]
    for number, data_set_id in enumerate(ids):
        if data_set_id in ids[:number]:
            twin = sets[ids.index(data_set_id)].location
            raise UserError(
                f"{sets[number].location} and {twin} are the same data set ({data_set_id[:12]}): name one of them."
            )
    wanted = [_known(shards, sets, sources) for shards in sets]
    chosen = [
        shards.shard_positions(splits, mine) if mine is None or mine else []
        for shards, mine in zip(sets, wanted, strict=True)
    ]
    tables, parts = [], set()
    for number, (shards, numbers) in enumerate(zip(sets, chosen, strict=True)):
        if not numbers:
            continue
        shards.prepare(numbers)
        tables.append(_with_origin(shards.rows(numbers, _COLUMNS), number, shards))
        entries = [shards.manifest.shards[number] for number in numbers]
        parts |= {f"{entry.source}/{entry.split}" for entry in entries}
    _check_splits(splits, parts, sets)
    data_set_id = ids[0] if len(ids) == 1 else hashlib.sha256("+".join(ids).encode()).hexdigest()
    return _arrays(sets, data_set_id, tuple(sorted(parts)), pa.concat_tables(tables).combine_chunks(), tasks)


def _check_splits(splits: Sequence[str] | None, parts: set[str], sets: tuple[ShardSet, ...]) -> None:
    found = {part.rpartition("/")[2] for part in parts}
    for split in splits or ():
        if split not in found:
            have = ", ".join(f"{shards.location} has {', '.join(shards.parts)}" for shards in sets)
            raise UserError(f"data.splits: nothing selected has a split {split!r}{nearest(split, found)}; {have}.")


def _known(shards: ShardSet, sets: tuple[ShardSet, ...], sources: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Of the sources asked for, those of this data set; a source that no set has goes on, to be refused there."""
    if sources is None:
        return None
    elsewhere = {source for other in sets if other is not shards for source in other.manifest.sources}
    return tuple(source for source in sources if source in shards.manifest.sources or source not in elsewhere)


def _with_origin(table: pa.Table, number: int, shards: ShardSet) -> pa.Table:
    names = pa.array([shard.source for shard in shards.manifest.shards], pa.string())
    source = names.take(table["shard"].combine_chunks())
    return table.append_column("set", pa.array(np.full(len(table), number, np.int32))).append_column("source", source)


def _arrays(
    sets: tuple[ShardSet, ...],
    data_set_id: str,
    parts: tuple[str, ...],
    table: pa.Table,
    tasks: tuple[str, ...] | None,
) -> Selection:
    names, old_row, number, task = _dialogues(sets, parts, table, tasks)
    kept, dialogue_row = np.unique(old_row, return_inverse=True)
    table = table.take(pa.array(kept))
    column = {name: table[name].to_numpy() for name in table.column_names if pa.types.is_integer(table[name].type)}
    sources, source = _numbered(table["source"].combine_chunks())
    further = {name: table[name].combine_chunks() for name in ("further_offset", "further_size", "further_sha256")}
    count = pc.list_value_length(further["further_offset"]).to_numpy()
    turns = (np.diff(column["set"], prepend=-1) != 0) | (np.diff(column["shard"], prepend=-1) != 0)
    return Selection(
        sets=sets,
        data_set_id=data_set_id,
        parts=parts,
        ids=table["id"].combine_chunks(),
        sha256=table["sha256"].combine_chunks(),
        set_number=column["set"],
        shard=column["shard"],
        shard_run=np.cumsum(turns).astype(np.int32) - 1,
        image_offset=column["image_offset"],
        image_size=column["image_size"],
        record_offset=column["record_offset"],
        record_size=column["record_size"],
        images=1 + count,
        further_start=np.cumsum(count) - count,
        further_offset=further["further_offset"].flatten().to_numpy(),
        further_size=further["further_size"].flatten().to_numpy(),
        further_sha256=further["further_sha256"].flatten(),
        sources=sources,
        source=source,
        tasks=names,
        dialogue_row=dialogue_row.astype(np.int32),
        dialogue_number=number.astype(np.int32),
        dialogue_task=task.astype(np.int32),
    )


def _dialogues(
    sets: tuple[ShardSet, ...], parts: tuple[str, ...], table: pa.Table, tasks: tuple[str, ...] | None
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, np.ndarray]:
    """Names of the tasks, and for each selected dialogue its row, its number in the record and its task (D,)."""
    per_row = table["dialogue_tasks"].combine_chunks()
    found, task = _numbered(per_row.flatten())
    row = pc.list_parent_indices(per_row).to_numpy().astype(np.int64)
    number = np.arange(len(row)) - np.searchsorted(row, row)
    unknown = sorted(set(tasks or ()) - set(found))
    where = f"{', '.join(str(shards.location) for shards in sets)} ({', '.join(parts)})"
    if unknown:
        raise UserError(
            f"data.tasks: no dialogue of {where} has task {unknown[0]!r}{nearest(unknown[0], found)}"
            f"; it has {list(found)}."
        )
    names = found if tasks is None else tuple(sorted(set(tasks)))
    place = np.array([names.index(name) if name in names else -1 for name in found], np.int64)
    chosen = place[task] >= 0
    if not chosen.any():
        raise UserError(f"{where} has no dialogue. Build with a recipe that renders instructions.")
    return names, row[chosen], number[chosen], place[task[chosen]]


def _numbered(names: pa.Array) -> tuple[tuple[str, ...], np.ndarray]:
    """The different names, sorted, and for each entry the position of its name there, int32."""
    encoded = names.dictionary_encode()
    found = encoded.dictionary.to_pylist()
    ordered = sorted(found)
    place = np.array([ordered.index(name) for name in found], np.int32)
    return tuple(ordered), place[encoded.indices.to_numpy()]
