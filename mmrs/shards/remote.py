"""Data sets that lie elsewhere: http(s), s3 and hf:// through fsspec, each shard fetched whole into a local cache.

Whole shards rather than byte ranges: an epoch reads every sample of a shard, so one request of some hundred megabytes
replaces a thousand small ones; the manifest has a digest of the shard and none of a range; and all later epochs are
local. Counting the tokens of the records reads every shard once before that, unless the counts are in the cache. A
download is made of ranges of `CHUNK` bytes, each tried again by itself.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import random
import re
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from mmrs.errors import RunFailure, UserError
from mmrs.shards.manifest import MANIFEST_NAME, Manifest, load_manifest
from mmrs.shards.reader import ShardSet
from mmrs.storage.atomic import write_atomic
from mmrs.storage.cache import DigestMismatch, FileCache

T = TypeVar("T")
CHUNK = 8 * 2**20
CONNECTIONS = 4
MANIFEST_TRIES = 3
PACKAGES = {"http": "aiohttp", "https": "aiohttp", "s3": "s3fs", "hf": "huggingface_hub"}
EXTRAS = {"http": "mmrs[http]", "https": "mmrs[http]", "s3": "mmrs[s3]", "hf": "huggingface_hub"}
PASSING_CLIENT_ERRORS = (408, 425, 429)


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a request is tried, how long between two tries, and after how many silent seconds one is given up.

    Waits double from `first_wait_s` to `longest_wait_s`: about two minutes of outage with the defaults.
    """

    tries: int = 9
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    stall_s: float = 30.0


@dataclass(frozen=True, slots=True)
class RemoteFolder:
    """Files below a URL."""

    url: str
    patience: Patience = Patience()

    def read(self, path: str) -> bytes:
        """A small file.

        Raises:
            UserError: there is no such file, or it may not be read.
            RunFailure: every try failed; both name the URL.
        """
        return self._retried(path, lambda filesystem: filesystem.cat_file(self._address(path)))

    def download(self, path: str, size: int, descriptor: int) -> None:
        """Write a file of `size` bytes into `descriptor`, several ranges at a time. Raises as `read`."""
        starts = range(0, size, CHUNK)

        def fetch(start: int) -> None:
            stop = min(start + CHUNK, size)
            data = self._retried(path, lambda filesystem: self._range(filesystem, path, start, stop, size))
            _write(descriptor, data, start)

        with ThreadPoolExecutor(min(CONNECTIONS, len(starts)) or 1) as pool:
            for _ in pool.map(fetch, starts):
                pass

    def _range(self, filesystem: Any, path: str, start: int, stop: int, size: int) -> bytes:
        options = {"cache_type": "none"} if urlsplit(self.url).scheme == "hf" else {}
        data = filesystem.cat_file(self._address(path), start=start, end=stop, **options)
        if len(data) == size:
            # A server that knows no ranges answers with the whole file.
            data = data[start:stop]
        if len(data) != stop - start:
            raise EOFError(f"{len(data)} bytes instead of {stop - start}")
        return data

    def _retried(self, path: str, request: Callable[[Any], T]) -> T:
        filesystem = self._filesystem()
        passing = _passing_errors()
        rng = random.Random(f"{self.url}/{path}/{os.getpid()}")
        wait_s = self.patience.first_wait_s
        for attempt in range(1, self.patience.tries + 1):
            try:
                return request(filesystem)
            except passing as error:
                if _is_final(error):
                    raise self._refused(path, error) from error
                if attempt == self.patience.tries:
                    raise RunFailure(
                        f"{self.url}/{path} cannot be read: {attempt} tries failed, the last with "
                        f"{describe_error(error)}. The same command goes on once the server answers."
                    ) from error
            time.sleep(wait_s * rng.uniform(0.5, 1.0))
            wait_s = min(2 * wait_s, self.patience.longest_wait_s)
        raise AssertionError("unreachable")

    def _refused(self, path: str, error: Exception) -> UserError:
        hints = {
            "http": "Open the URL with curl to see what the server says.",
            "https": "Open the URL with curl to see what the server says.",
            "s3": "Check the bucket's name and the credentials (`aws sts get-caller-identity`).",
            "hf": "Check the name, and `hf auth login` or HF_TOKEN for a private data set.",
        }
        return UserError(
            f"{self.url}/{path} cannot be read: {describe_error(error)}. {hints[urlsplit(self.url).scheme]}"
        )

    def _address(self, path: str) -> str:
        whole = f"{self.url}/{path}"
        return whole if self.url.startswith("http") else whole.partition("://")[2]

    def _filesystem(self) -> Any:
        """fsspec keeps one instance per process and set of options."""
        import fsspec

        scheme = urlsplit(self.url).scheme
        try:
            importlib.import_module(PACKAGES[scheme])
        except ImportError as error:
            raise UserError(
                f"{self.url}: reading {scheme}:// needs the package {PACKAGES[scheme]}: pip install '{EXTRAS[scheme]}'"
            ) from error
        stall_s = self.patience.stall_s
        if scheme.startswith("http"):
            import aiohttp

            timeout = aiohttp.ClientTimeout(total=None, connect=stall_s, sock_read=stall_s)
            headers = {"Accept-Encoding": "identity"}
            return fsspec.filesystem(scheme, client_kwargs={"timeout": timeout, "headers": headers, "trust_env": True})
        if scheme == "s3":
            timeouts = {"connect_timeout": stall_s, "read_timeout": stall_s, "retries": {"max_attempts": 0}}
            filesystem = fsspec.filesystem("s3", config_kwargs=timeouts)
            filesystem.retries = 1
            return filesystem
        return fsspec.filesystem("hf")


@dataclass(frozen=True, slots=True)
class RemoteAccess:
    """Where downloads go and how patiently they are made."""

    cache: FileCache
    patience: Patience = Patience()


@dataclass
class RemoteShardSet(ShardSet):
    """A finished data set below a URL. Indexes are fetched at once, shards when a sample of theirs is read."""

    access: RemoteAccess | None = field(default=None, kw_only=True)
    max_open_files: int = 16

    @cached_property
    def manifest(self) -> Manifest:
        name = hashlib.sha256(str(self.folder).encode()).hexdigest()[:16]
        local = self.cache.folder / "manifests" / name
        for attempt in range(1, MANIFEST_TRIES + 1):
            # Read anew for each run: it says which files are meant.
            write_atomic(local / MANIFEST_NAME, self._remote.read(MANIFEST_NAME))
            try:
                return load_manifest(local)
            except UserError as error:
                # Nothing vouches for a manifest but itself, so a damaged answer shows here first.
                if attempt == MANIFEST_TRIES:
                    raise UserError(str(error).replace(str(local), str(self.folder))) from error
        raise AssertionError("unreachable")

    def fetch_indexes(self, numbers: Iterable[int]) -> None:
        """Have the indexes of these shards in the cache. Raises as `RemoteFolder.read`."""
        with ThreadPoolExecutor(2 * CONNECTIONS) as pool:
            list(pool.map(self.index_file, numbers))

    def fetch_shards(self, numbers: Iterable[int]) -> None:
        """Have these shards in the cache, several at a time. Raises as `RemoteFolder.read`."""
        missing = [number for number in numbers if not self.cache.holds(self.manifest.shards[number].sha256)]
        if missing:
            with ThreadPoolExecutor(CONNECTIONS) as pool:
                for descriptor in pool.map(self.open_shard, missing):
                    os.close(descriptor)

    def index_file(self, shard: int) -> Path:
        entry = self.manifest.shards[shard]
        indexes = FileCache(self.cache.folder / "indexes", self.cache.max_bytes)
        os.close(self._open_file(indexes, entry.index_path, entry.index_sha256, entry.index_bytes))
        return indexes.folder / entry.index_sha256

    def open_shard(self, shard: int) -> int:
        entry = self.manifest.shards[shard]
        return self._open_file(self.cache, entry.path, entry.sha256, entry.bytes)

    def _open_file(self, cache: FileCache, path: str, sha256: str, size: int) -> int:
        remote, tries = self._remote, self._remote.patience.tries
        for attempt in range(1, tries + 1):
            try:
                return cache.open(sha256, size, lambda file: remote.download(path, size, file))
            except DigestMismatch as error:
                if attempt == tries:
                    raise RunFailure(
                        f"{self.folder}/{path}: {error}, {attempt} times. The file or its manifest has changed: "
                        "publish the data set again."
                    ) from error
        raise AssertionError("unreachable")

    @property
    def _remote(self) -> RemoteFolder:
        return RemoteFolder(str(self.folder), self._access.patience)

    @property
    def cache(self) -> FileCache:
        """Where the shards are kept."""
        return self._access.cache

    @property
    def _access(self) -> RemoteAccess:
        if self.access is None:
            raise ValueError(f"{self.folder}: a remote data set needs RemoteAccess")
        return self.access


def is_url(location: Path | str) -> bool:
    """Whether it is a URL rather than a folder."""
    return isinstance(location, str) and re.match(r"[A-Za-z][\w+.-]*://", location) is not None


def checked_url(url: str) -> str:
    """The URL of a folder in one form.

    Raises:
        UserError: a scheme that is not read, or credentials in it, which would be saved with the run.
    """
    parts = urlsplit(url)
    bare = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if parts.scheme not in PACKAGES:
        known = ", ".join(sorted(PACKAGES))
        raise UserError(f"data.folders: {bare} has the scheme {parts.scheme!r}; give a folder or a URL of {known}.")
    if parts.username or parts.password or parts.query:
        raise UserError(
            f"data.folders: the URL {bare} carries credentials or a query, which would be saved with the run. Give "
            "credentials in ~/.netrc or in the environment variables of the protocol's own tools."
        )
    return url.rstrip("/")


def describe_error(error: BaseException) -> str:
    """An error in one line, without the signed part of any URL."""
    text = re.sub(r"\?\S*", "?...", " ".join(str(error).split()))[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _passing_errors() -> tuple[type[Exception], ...]:
    """What a network can raise: each client has errors of its own, known only once it is imported."""
    names = (
        ("aiohttp", "ClientError"),
        ("botocore.exceptions", "BotoCoreError"),
        ("botocore.exceptions", "ClientError"),
        ("botocore.parsers", "ResponseParserError"),
        ("httpx", "HTTPError"),
        ("httpx2", "HTTPError"),
        ("requests", "RequestException"),
    )
    found = [getattr(sys.modules[module], name) for module, name in names if module in sys.modules]
    return (OSError, EOFError, TimeoutError, ValueError, *found)


def _is_final(error: Exception) -> bool:
    # Clients call a name that can exist nowhere a ValueError.
    if isinstance(error, FileNotFoundError | PermissionError | ValueError):
        return True
    response = getattr(error, "response", None)
    status = getattr(error, "status", None) or getattr(response, "status_code", None)
    return isinstance(status, int) and 400 <= status < 500 and status not in PASSING_CLIENT_ERRORS


def _write(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
