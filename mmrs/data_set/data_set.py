"""`mmrs.open`: a finished data set in a folder or at a URL, for a program of one's own.

data = mmrs.open("shards")                       # or s3://..., https://..., hf://datasets/ORG/NAME
sample = data[0]                                 # sample.image, sample.record
for sample in data.stream(tasks=["vqa"], seed=1):
    ...
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmrs.data_set.sample import Sample
from mmrs.data_set.stream import SampleStream, read_sample
from mmrs.errors import UserError
from mmrs.installation import describe_missing
from mmrs.shards.index import IMAGE_PLACES
from mmrs.shards.manifest import SourceEntry
from mmrs.shards.reader import ShardSet
from mmrs.text import nearest

if TYPE_CHECKING:
    import datasets

_PLACES = ("id", "shard", "record_offset", "record_size", *IMAGE_PLACES)


class DataSet:
    """All samples of a data set, by number in the order of its manifest, as a table, or as a stream.

    Args:
        location: its folder or URL.

    Raises:
        UserError: no finished data set is there, or a URL that is not known.
        RunFailure: a URL does not answer.
    """

    def __init__(self, location: Path | str):
        self._shards = ShardSet(location)
        self._ends = np.cumsum([shard.records for shard in self._shards.manifest.shards])
        # Of shards that samples were asked of; those of a million samples take 65 MB together.
        self._indexes: dict[int, pa.Table] = {}

    @property
    def location(self) -> Path | str:
        """The folder or URL."""
        return self._shards.location

    @property
    def id(self) -> str:
        """sha256 of the manifest: equal where every byte of the shards is."""
        return self._shards.manifest.id

    @property
    def sources(self) -> Mapping[str, SourceEntry]:
        """By name: sensor, licence, tasks, classes, counts of each split."""
        return self._shards.manifest.sources

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of all splits, sorted."""
        return tuple(sorted({shard.split for shard in self._shards.manifest.shards}))

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, number: int) -> Sample:
        """The numbered sample; -1 is the last.

        Raises:
            IndexError: there is none of that number.
            RunFailure: it is damaged.
        """
        place = operator.index(number)
        place += len(self) if place < 0 else 0
        if not 0 <= place < len(self):
            raise IndexError(f"sample {number} of {len(self)}")
        shard = int(np.searchsorted(self._ends, place, side="right"))
        first = int(self._ends[shard - 1]) if shard else 0
        (row,) = self._rows_of(shard).slice(place - first, 1).to_pylist()
        return read_sample(self._shards, row | {"shard": shard})

    def __iter__(self) -> Iterator[Sample]:
        for row in self._shards.rows(range(len(self._ends)), _PLACES[:1] + _PLACES[2:]).to_pylist():
            yield read_sample(self._shards, row)

    def __repr__(self) -> str:
        return f"DataSet({str(self.location)!r}): {len(self):,} samples of {', '.join(sorted(self.sources))}"

    def table(
        self,
        splits: Sequence[str] | None = None,
        sources: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """The index, a row a sample, with `source`, `split` and `sensor`; no image is read.

        Args:
            splits: all by default.
            sources: all by default.
            columns: of the index, all by default.

        Raises:
            UserError: no such split or source; names what is there.
        """
        positions = self._shards.shard_positions(self.splits if splits is None else splits, sources)
        table = self._shards.rows(positions, columns)
        shard_R = table["shard"].combine_chunks()
        entries = self._shards.manifest.shards
        added = {
            "source": [entry.source for entry in entries],
            "split": [entry.split for entry in entries],
            "sensor": [self.sources[entry.source].sensor for entry in entries],
        }
        for name, values in added.items():
            table = table.append_column(name, pa.array(values, pa.string()).take(shard_R))
        return table

    def stream(
        self,
        splits: Sequence[str] | None = None,
        sources: Sequence[str] | None = None,
        tasks: Sequence[str] | None = None,
        shuffle: bool = True,
        seed: int = 0,
        shard: tuple[int, int] = (0, 1),
    ) -> SampleStream:
        """Samples of an epoch for any loader: see `mmrs.data_set.stream.SampleStream`.

        Args:
            splits: those that each source was built to train on by default.
            sources: all by default.
            tasks: samples with dialogues of these, and these dialogues alone; all samples by default.
            shuffle: otherwise in manifest order.
            seed: of the order.
            shard: (rank, world): the share of one process of several.

        Raises:
            UserError: no such split, source or task, or a rank that is none.
        """
        table = self._shards.rows(self._shards.shard_positions(splits, sources), [*_PLACES[:1], *_PLACES[2:], _TASKS])
        if tasks is not None:
            table = self._with_tasks(table, tasks)
        return SampleStream(self._shards, table.drop([_TASKS]), tuple(tasks or ()), shuffle, seed, *shard)

    def to_datasets(
        self, splits: Sequence[str] | None = None, sources: Sequence[str] | None = None, tasks: Sequence[str] = ()
    ) -> datasets.IterableDataset:
        """A streaming data set of Hugging Face `datasets`, a row a dialogue: `id`, `source`, `task`, `images` (a list),
        `messages`, as TRL's trainers for vision-language models take it.

        Raises:
            UserError: as `stream`, or `datasets` is not installed.
        """
        try:
            from mmrs.data_set.chat_rows import chat_rows
        except ModuleNotFoundError as error:
            raise UserError(describe_missing(error) or str(error)) from error
        return chat_rows(self._shards, self._shards.shard_positions(splits, sources), tuple(tasks))

    def close(self) -> None:
        """Close the files that this process opened."""
        self._shards.close()

    def _rows_of(self, shard: int) -> pa.Table:
        if shard not in self._indexes:
            self._indexes[shard] = self._shards.index(shard).select([name for name in _PLACES if name != "shard"])
        return self._indexes[shard]

    def _with_tasks(self, table: pa.Table, tasks: Sequence[str]) -> pa.Table:
        known = {task for source in self.sources.values() for task in source.tasks}
        for task in tasks:
            if task not in known:
                raise UserError(
                    f"{self.location} has no task {task!r}{nearest(task, known)}; it has {', '.join(sorted(known))}."
                )
        lists = table[_TASKS].combine_chunks()
        rows = pc.list_parent_indices(lists).filter(pc.is_in(lists.flatten(), pa.array(list(tasks), pa.string())))
        if not len(rows):
            raise UserError(f"no sample of the splits has a dialogue of {' or '.join(tasks)}.")
        return table.take(pc.unique(rows))


_TASKS = "dialogue_tasks"


def open_data_set(location: Path | str) -> DataSet:
    """The finished data set in a folder or at a URL (``s3://``, ``https://``, ``hf://datasets/ORG/NAME``).

    Raises:
        UserError: no finished data set is there, or a URL that is not known.
        RunFailure: a URL does not answer.
    """
    return DataSet(location)
