"""Random access to a finished data set in a folder or at a URL: members by offset, no tar is ever scanned.

shards = ShardSet("s3://BUCKET/FOLDER")             # or Path("SHARDS"), http(s)://..., hf://datasets/ORG/NAME
for row in shards.table("test", sources=("dota",)).to_pylist():
    record, image = shards.record(row), shards.image(row)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmrs.errors import RunFailure, UserError
from mmrs.record import Record
from mmrs.shards.checked_index import read_checked_index
from mmrs.shards.files import Downloads, ShardFiles, open_files
from mmrs.shards.index import image_places
from mmrs.shards.manifest import Manifest, ShardEntry, SourceEntry, load_manifest
from mmrs.shards.quarantine import QUARANTINE_NAME
from mmrs.storage.place import read_digested
from mmrs.storage.urls import parse_location
from mmrs.text import nearest, see_verify


@dataclass(frozen=True, slots=True)
class OneShard:
    """One shard of a data set, small to send to another process."""

    location: Path | str
    files: ShardFiles
    entry: ShardEntry

    def index(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Its index, as `ShardSet.index` gives it."""
        path, advice = self.files.index_file(self.entry), see_verify(self.location)
        return read_checked_index(path, self.entry, f"{self.location}/{self.entry.index_path}", advice, columns)

    @contextmanager
    def opened(self) -> Iterator[Callable[[int, int], bytes]]:
        """A function of offset and size that reads bytes of the tar. Raises OSError, or as `ShardSet.prepare`."""
        descriptor = self.files.open_shard(self.entry)
        try:
            yield lambda offset, size: _read_at(descriptor, self.entry, offset, size)
        finally:
            os.close(descriptor)

    def record(self, row: Mapping[str, Any], read: Callable[[int, int], bytes]) -> Record:
        """The record of an index row, `read` as of `opened`. Raises as `ShardSet.record`."""
        try:
            record = Record.from_json(read(row["record_offset"], row["record_size"]))
        except (OSError, ValueError) as error:
            raise self.damaged(row["id"], f"the record cannot be read: {error}") from error
        if record.id != row["id"]:
            raise self.damaged(row["id"], f"the record is that of {record.id}")
        return record

    def damaged(self, name: str, what: str) -> RunFailure:
        """The failure of the sample with that id, whose image or record is not what it should be."""
        return RunFailure(f"{self.location}/{self.entry.path}: {name}: {what}. {see_verify(self.location)}")


def _read_at(descriptor: int, entry: ShardEntry, offset: int, size: int) -> bytes:
    data = os.pread(descriptor, size, offset)
    if len(data) != size:
        raise OSError(f"{entry.path}: {len(data)} of {size} bytes at offset {offset}")
    return data


@dataclass
class ShardSet:
    """A finished data set. `location` is its folder or URL, in one form; files from a URL come as `downloads` says.

    At most `max_open_files` descriptors are open, the least recently used one is closed first. They are per process: an
    instance may be pickled or forked into workers.

    Raises:
        UserError: a URL that is not known, or that carries credentials. Nothing is read before it is asked for.
    """

    location: Path | str
    downloads: Downloads = field(default_factory=Downloads)
    max_open_files: int = field(init=False)
    _files: ShardFiles = field(init=False, repr=False)
    _descriptors: dict[tuple[int, int], int] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.location = parse_location(self.location)
        self._files = open_files(self.location, self.downloads)
        self.max_open_files = self._files.max_open_files

    @cached_property
    def manifest(self) -> Manifest:
        return load_manifest(self._files.place)

    def table(
        self, split: str, sources: tuple[str, ...] | None = None, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Index rows of one split, in manifest order, with a column `shard` (position in ``manifest.shards``).

        Args:
            columns: of the index, all by default.

        Raises:
            UserError: the split or a source is not in the data set; names what is there.
        """
        return self.rows(self.shard_positions((split,), sources), columns)

    def shard_positions(self, splits: Sequence[str] | None, sources: Sequence[str] | None = None) -> list[int]:
        """Positions in ``manifest.shards`` of what belongs to the sources and splits, at least one.

        Args:
            splits: None for those that each source was built to train on.
            sources: None for all.

        Raises:
            UserError: nothing does, or a source is not in the data set; names what is there.
        """
        known = self.manifest.sources
        unknown = sorted(set(sources or ()) - set(known))
        if unknown:
            raise UserError(
                f"{self.location} has no source {unknown[0]!r}{nearest(unknown[0], known)}"
                f"; it has {', '.join(sorted(known))}."
            )
        numbers = [
            number
            for number, shard in enumerate(self.manifest.shards)
            if (sources is None or shard.source in sources)
            and shard.split in (known[shard.source].train_splits if splits is None else splits)
        ]
        if not numbers:
            of = f" of {', '.join(sources)}" if sources else ""
            have = ", ".join(self.parts)
            if splits is None:
                raise UserError(
                    f"{self.location} was built with nothing{of} to train on; it has {have}. Name splits "
                    "(`--set data.splits=[...]`), or build it with other `train_splits`."
                )
            known_splits = sorted({shard.split for shard in self.manifest.shards})
            asked = " or ".join(f"{split!r}{nearest(split, known_splits)}" for split in splits)
            raise UserError(f"{self.location} has no split {asked}{of}; it has {have}.")
        return numbers

    @property
    def entries(self) -> tuple[ShardEntry, ...]:
        """All shards, by their numbers."""
        return self.manifest.shards

    def one(self, shard: int) -> OneShard:
        """The numbered shard alone, to be sent to another process: whole manifests would weigh more than most tasks."""
        return OneShard(self.location, self._files, self.manifest.shards[shard])

    def source_entry(self, shard: int) -> SourceEntry:
        """What the manifest says of the source of the numbered shard."""
        return self.manifest.sources[self.manifest.shards[shard].source]

    def dialect_name(self, shard: int) -> str:
        """The box dialect that the text of the numbered shard is written in."""
        return self.manifest.dialect_name

    def fetch_indexes(self) -> None:
        """Have the indexes of all shards on this machine, several at a time. Raises as `prepare`."""
        self._files.fetch_indexes(self.manifest.shards)

    @property
    def parts(self) -> list[str]:
        """``<source>/<split>`` of all that the data set holds, sorted."""
        return sorted({f"{shard.source}/{shard.split}" for shard in self.manifest.shards})

    def rows(self, shards: Sequence[int], columns: Sequence[str] | None = None) -> pa.Table:
        """Index rows of the numbered shards, at least one, with a column `shard`; `columns` as in `table`."""
        tables = []
        for number in shards:
            table = self.index(number, columns)
            table = table if columns is None else table.select(columns)
            tables.append(table.append_column("shard", pa.array([number] * len(table), pa.int32())))
        return pa.concat_tables(tables).combine_chunks()

    def index(self, shard: int, columns: Sequence[str] | None = None) -> pa.Table:
        """The index of the numbered shard, or these columns of it, in the order of the index.

        Every row lies in its tar where columns say where. Raises as `read_checked_index`.
        """
        return self.one(shard).index(columns)

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """`size` bytes at `offset` of the numbered shard. Raises OSError when the shard ends before them."""
        return _read_at(self._descriptor(shard), self.manifest.shards[shard], offset, size)

    def record(self, row: dict) -> Record:
        """The record of an index row (a dict with `id`, `shard`, `record_offset`, `record_size`).

        Raises:
            RunFailure: it cannot be read, or is that of another image.
        """
        shard = row["shard"]
        return self.one(shard).record(row, lambda offset, size: self.read(shard, offset, size))

    def damaged(self, row: Mapping[str, Any], what: str) -> RunFailure:
        """The failure of an index row whose image or record is not what it should be."""
        return self.one(row["shard"]).damaged(row["id"], what)

    def record_bytes(self, row: dict) -> bytes:
        """The record of an index row as canonical JSON, not parsed."""
        return self.read(row["shard"], row["record_offset"], row["record_size"])

    def image(self, row: dict) -> bytes:
        """The stored image bytes of an index row, of several images the first one's."""
        return self.read(row["shard"], row["image_offset"], row["image_size"])

    def images(self, row: dict) -> tuple[bytes, ...]:
        """The stored bytes of all images of an index row that has `mmrs.shards.index.IMAGE_PLACES`."""
        return tuple(self.read(row["shard"], offset, size) for offset, size in image_places(row))

    def index_file(self, shard: int) -> Path:
        """The index of the numbered shard, as a file of this machine."""
        return self._files.index_file(self.manifest.shards[shard])

    def index_files(self) -> list[Path]:
        """The indexes of all shards, in manifest order, as files of this machine; fetched several at a time."""
        self.fetch_indexes()
        return [self.index_file(shard) for shard in range(len(self.manifest.shards))]

    def check_indexes(self, columns: Sequence[str] | None = None) -> None:
        """Look at all indexes, several at a time, as `index` does at one. Raises as `read_checked_index`."""
        self.fetch_indexes()
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for _ in pool.map(lambda shard: len(self.index(shard, columns)), range(len(self.manifest.shards))):
                pass

    def index_location(self, shard: int) -> str:
        """Where the index of the numbered shard lies, for messages."""
        return f"{self.location}/{self.manifest.shards[shard].index_path}"

    def quarantine(self) -> bytes:
        """The content of `quarantine.jsonl`. Raises as `mmrs.storage.place.ReadablePlace.read`."""
        return read_digested(self._files.place, QUARANTINE_NAME, self.manifest.quarantine_sha256)

    def prepare(self, shards: Iterable[int]) -> None:
        """Make sure that the numbered shards can be read; their indexes are then at hand.

        Raises:
            UserError: a file is missing, has another size, or may not be read.
            RunFailure: a URL does not answer, or answers with other files than the manifest names.
        """
        self._files.prepare(self._entries(shards))

    def fetch(self, shards: Iterable[int]) -> None:
        """Have the numbered shards on this machine, several at a time. Raises as `prepare`."""
        self._files.fetch(self._entries(shards))

    def downloaded_bytes(self, shard: int) -> int:
        """What has to be fetched to read the numbered shard, where the cache is empty."""
        return self._files.downloaded_bytes(self.manifest.shards[shard])

    def _entries(self, shards: Iterable[int]) -> list[ShardEntry]:
        return [self.manifest.shards[shard] for shard in shards]

    def _descriptor(self, shard: int) -> int:
        # Keyed by process: a descriptor inherited through fork stays valid but one from a pickle would not be ours.
        key = (os.getpid(), shard)
        descriptor = self._descriptors.pop(key, None)
        if descriptor is None:
            mine = [known for known in self._descriptors if known[0] == key[0]]
            if len(mine) >= self.max_open_files:
                os.close(self._descriptors.pop(mine[0]))
            descriptor = self._files.open_shard(self.manifest.shards[shard])
        self._descriptors[key] = descriptor
        return descriptor

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_descriptors": {}}

    def close(self) -> None:
        """Close the descriptors that this process opened."""
        for key in [key for key in self._descriptors if key[0] == os.getpid()]:
            os.close(self._descriptors.pop(key))
