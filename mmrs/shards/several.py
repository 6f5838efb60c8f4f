"""Several data sets read as one: their shards numbered through, in whatever order the sets are named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from mmrs.shards.manifest import ShardEntry, SourceEntry
from mmrs.shards.reader import OneShard, ShardSet


class NumberedShards(Protocol):
    """What a data set, and several of them, have in common for those who read all of it; see `ShardSet`."""

    @property
    def entries(self) -> tuple[ShardEntry, ...]: ...

    def one(self, shard: int) -> OneShard: ...

    def source_entry(self, shard: int) -> SourceEntry: ...

    def dialect_name(self, shard: int) -> str: ...

    def fetch_indexes(self) -> None: ...

    def index(self, shard: int, columns: Sequence[str] | None = None) -> pa.Table: ...

    def read(self, shard: int, offset: int, size: int) -> bytes: ...

    def close(self) -> None: ...


@dataclass
class SeveralSets:
    """`NumberedShards` of data sets. One set keeps the order of its manifest; of several, shards are sorted by source
    and split, as `mmrs merge` would sort them.

    `places` are (number of the set, number of the shard in it) by number.
    """

    sets: tuple[ShardSet, ...]
    places: tuple[tuple[int, int], ...] = field(init=False)
    entries: tuple[ShardEntry, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        places = [(number, shard) for number, one in enumerate(self.sets) for shard in range(len(one.entries))]
        if len(self.sets) > 1:
            places.sort(key=self._sort_key)
        self.places = tuple(places)
        self.entries = tuple(self.sets[number].entries[shard] for number, shard in places)

    def _sort_key(self, place: tuple[int, int]) -> tuple[str, str, str, str]:
        number, shard = place
        entry = self.sets[number].entries[shard]
        return entry.source, entry.split, self.sets[number].manifest.id, entry.path

    def one(self, shard: int) -> OneShard:
        number, place = self.places[shard]
        return self.sets[number].one(place)

    def source_entry(self, shard: int) -> SourceEntry:
        number, place = self.places[shard]
        return self.sets[number].source_entry(place)

    def dialect_name(self, shard: int) -> str:
        number, place = self.places[shard]
        return self.sets[number].dialect_name(place)

    def fetch_indexes(self) -> None:
        for one in self.sets:
            one.fetch_indexes()

    def index(self, shard: int, columns: Sequence[str] | None = None) -> pa.Table:
        return self.one(shard).index(columns)

    def read(self, shard: int, offset: int, size: int) -> bytes:
        number, place = self.places[shard]
        return self.sets[number].read(place, offset, size)

    def close(self) -> None:
        for one in self.sets:
            one.close()
