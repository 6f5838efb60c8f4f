"""Reading from a URL, through fsspec: patiently, in ranges, and never less than was asked for.

A large file is made of ranges of `CHUNK` bytes, several at a time, each tried again by itself: fsspec's own `get_file`
begins again at byte 0 when the connection breaks, and knows no digest. Clients of protocols are told to give up a
request that is silent, and not to try it again themselves, so that one rule counts the tries.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from mmrs.errors import RunFailure, UserError
from mmrs.storage.place import MOST_BYTES, too_large
from mmrs.storage.retry import DEFAULT_PATIENCE, Patience, retried
from mmrs.storage.urls import check_package, describe_error, file_system, scheme_of

T = TypeVar("T")
CHUNK = 8 * 2**20
CONNECTIONS = 4
PASSING_CLIENT_ERRORS = (408, 425, 429)


@dataclass(frozen=True, slots=True)
class RemoteReader:
    """The files below a checked URL, to be read; see `mmrs.storage.place.ReadablePlace`."""

    url: str
    patience: Patience = DEFAULT_PATIENCE

    def __str__(self) -> str:
        return self.url

    def read(self, name: str, most_bytes: int = MOST_BYTES) -> bytes:
        """A whole file.

        Raises:
            UserError: there is no such file, or it may not be read.
            RunFailure: every try failed, or it has more than `most_bytes`; both name the URL.
        """
        content = self._patiently(name, lambda filesystem: filesystem.cat_file(self._address(filesystem, name)))
        if len(content) > most_bytes:
            raise too_large(f"{self.url}/{name}", most_bytes)
        return content

    def download(self, name: str, size: int, descriptor: int) -> None:
        """Write a file of `size` bytes into `descriptor`, several ranges at a time. Raises as `read`."""
        starts = range(0, size, CHUNK)

        def fetch(start: int) -> None:
            stop = min(start + CHUNK, size)
            data = self._patiently(name, lambda filesystem: self._range(filesystem, name, start, stop, size))
            _write(descriptor, data, start)

        with ThreadPoolExecutor(min(CONNECTIONS, len(starts)) or 1) as pool:
            for _ in pool.map(fetch, starts):
                pass

    def _range(self, filesystem: Any, name: str, start: int, stop: int, size: int) -> bytes:
        options = {"cache_type": "none"} if self.url.startswith("hf:") else {}
        data = filesystem.cat_file(self._address(filesystem, name), start=start, end=stop, **options)
        if len(data) == size:
            # A server that knows no ranges answers with the whole file.
            data = data[start:stop]
        if len(data) != stop - start:
            raise EOFError(f"{len(data)} bytes instead of {stop - start}")
        return data

    def _patiently(self, name: str, request: Callable[[Any], T]) -> T:
        filesystem = self._file_system()
        where = f"{self.url}/{name}"

        def failure(error: Exception, tried: int, is_last: bool) -> Exception | None:
            if _is_final(error):
                return UserError(f"{where} cannot be read: {describe_error(error)}. {scheme_of(self.url).advice}")
            if not is_last:
                return None
            return RunFailure(
                f"{where} cannot be read: {tried} tries failed, the last with {describe_error(error)}. The same "
                "command goes on once the server answers."
            )

        return retried(lambda: request(filesystem), _passing_errors(), self.patience.waits(where), failure)

    def _address(self, filesystem: Any, name: str) -> str:
        if self.url.startswith("http"):
            return f"{self.url}/{name}"
        return f"{filesystem._strip_protocol(self.url).rstrip('/')}/{name}"

    def _file_system(self) -> Any:
        stall_seconds = self.patience.stall_seconds
        if self.url.startswith("http"):
            check_package(self.url)
            import aiohttp

            timeout = aiohttp.ClientTimeout(total=None, connect=stall_seconds, sock_read=stall_seconds)
            headers = {"Accept-Encoding": "identity"}
            client = {"timeout": timeout, "headers": headers, "trust_env": True}
            return file_system(self.url, client_kwargs=client)
        if self.url.startswith(("s3:", "s3a:")):
            timeouts = {"connect_timeout": stall_seconds, "read_timeout": stall_seconds}
            filesystem = file_system(self.url, config_kwargs=timeouts | {"retries": {"max_attempts": 0}})
            filesystem.retries = 1
            return filesystem
        return file_system(self.url)


def fetch_all(fetch: Callable[[T], object], wanted: Sequence[T], connections: int = CONNECTIONS) -> None:
    """Call `fetch` for each, several at a time."""
    with ThreadPoolExecutor(connections) as pool:
        for _ in pool.map(fetch, wanted):
            pass


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
