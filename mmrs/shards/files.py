"""The files of a finished data set, wherever it lies: in place in a folder, or fetched whole from a URL into a cache.

Whole shards rather than byte ranges: an epoch reads every sample of a shard, so one download of some hundred megabytes
replaces a thousand small ones; the manifest has a digest of the shard and none of a range; and all later epochs are
local. Counting the tokens of the records reads every shard once before that, unless the counts are in the cache.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mmrs.errors import RunFailure, UserError
from mmrs.shards.manifest import ShardEntry
from mmrs.storage.cache import DigestMismatch, FileCache, default_cache
from mmrs.storage.download import CONNECTIONS, RemoteReader, fetch_all
from mmrs.storage.local import LocalPlace
from mmrs.storage.place import ReadablePlace
from mmrs.storage.plain_files import open_to_read
from mmrs.storage.retry import DEFAULT_PATIENCE, Patience, retried
from mmrs.storage.urls import parse_location


@dataclass(frozen=True, slots=True)
class Downloads:
    """How files come from a URL: kept in `cache`, fetched with `patience`. A folder is read in place."""

    cache: FileCache = field(default_factory=default_cache)
    patience: Patience = DEFAULT_PATIENCE


class ShardFiles(Protocol):
    """Indexes and tars of a data set, and its small files by name. Instances are picklable."""

    @property
    def place(self) -> ReadablePlace: ...

    @property
    def max_open_files(self) -> int: ...

    def prepare(self, shards: Sequence[ShardEntry]) -> None:
        """Make sure that these shards can be read and that their indexes are at hand.

        Raises:
            UserError: a file is missing, has another size, or may not be read.
            RunFailure: a URL does not answer, or answers with other files than the manifest names.
        """
        ...

    def index_file(self, shard: ShardEntry) -> Path:
        """The index as a file of this machine. Raises as `prepare`."""
        ...

    def fetch_indexes(self, shards: Sequence[ShardEntry]) -> None:
        """Have these indexes on this machine. Raises as `prepare`."""
        ...

    def open_shard(self, shard: ShardEntry) -> int:
        """A new descriptor of the tar. Raises OSError, or as `prepare`."""
        ...

    def fetch(self, shards: Sequence[ShardEntry]) -> None:
        """Have these tars on this machine. Raises as `prepare`."""
        ...

    def downloaded_bytes(self, shard: ShardEntry) -> int:
        """What has to be fetched to read the tar, where the cache is empty."""
        ...


def open_files(location: Path | str, downloads: Downloads) -> ShardFiles:
    """The files of the data set at a folder or a URL. Raises `UserError` as `parse_location`."""
    where = parse_location(location)
    if isinstance(where, Path):
        return FolderFiles(LocalPlace(where))
    return CachedFiles(RemoteReader(where, downloads.patience), downloads.cache)


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """`ShardFiles` of a folder of this machine."""

    place: LocalPlace
    max_open_files: int = 128

    def prepare(self, shards: Sequence[ShardEntry]) -> None:
        for shard in shards:
            path = self.place.root / shard.path
            size = path.stat().st_size if path.is_file() else -1
            if size != shard.bytes:
                found = "is missing" if size < 0 else f"has {size} bytes"
                raise UserError(
                    f"{path} {found}; the manifest says {shard.bytes} bytes. Copy it again or run `mmrs build` to "
                    "mend it."
                )

    def index_file(self, shard: ShardEntry) -> Path:
        return self.place.root / shard.index_path

    def fetch_indexes(self, shards: Sequence[ShardEntry]) -> None:
        """They are here."""

    def open_shard(self, shard: ShardEntry) -> int:
        path = self.place.root / shard.path
        descriptor = open_to_read(path)
        size = os.fstat(descriptor).st_size
        if size != shard.bytes:
            os.close(descriptor)
            raise OSError(errno.EIO, f"has {size} bytes, the manifest says {shard.bytes}", str(path))
        return descriptor

    def fetch(self, shards: Sequence[ShardEntry]) -> None:
        """They are here."""

    def downloaded_bytes(self, shard: ShardEntry) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class CachedFiles:
    """`ShardFiles` of a URL. An evicted tar that is still open takes space, so few are kept open."""

    place: RemoteReader
    cache: FileCache
    max_open_files: int = 16

    def prepare(self, shards: Sequence[ShardEntry]) -> None:
        self.fetch_indexes(shards)

    def index_file(self, shard: ShardEntry) -> Path:
        indexes = FileCache(self.cache.folder / "indexes", self.cache.max_bytes)
        os.close(self._open(indexes, shard.index_path, shard.index_sha256, shard.index_bytes))
        return indexes.folder / shard.index_sha256

    def fetch_indexes(self, shards: Sequence[ShardEntry]) -> None:
        fetch_all(self.index_file, shards, 2 * CONNECTIONS)

    def open_shard(self, shard: ShardEntry) -> int:
        return self._open(self.cache, shard.path, shard.sha256, shard.bytes)

    def fetch(self, shards: Sequence[ShardEntry]) -> None:
        missing = [shard for shard in shards if not self.cache.holds(shard.sha256)]
        fetch_all(lambda shard: os.close(self.open_shard(shard)), missing)

    def downloaded_bytes(self, shard: ShardEntry) -> int:
        return shard.bytes

    def _open(self, cache: FileCache, name: str, sha256: str, size: int) -> int:
        def failure(error: Exception, tried: int, is_last: bool) -> Exception | None:
            if not is_last:
                return None
            return RunFailure(
                f"{self.place}/{name}: {error}, {tried} times. The file or its manifest has changed: publish the data "
                "set again."
            )

        waits = [0.0] * (self.place.patience.tries - 1)
        download = self.place.download
        return retried(
            lambda: cache.open(sha256, size, lambda file: download(name, size, file)), (DigestMismatch,), waits, failure
        )
