"""Reading from a URL, through fsspec: patiently, in ranges, and never less than was asked for.

A large file is made of ranges of `CHUNK` bytes, several at a time, each tried again by itself: fsspec's own `get_file`
begins again at byte 0 when the connection breaks, and knows no digest. Clients of protocols are told to give up a
request that is silent, and not to try it again themselves, so that one rule counts the tries. Nothing is believed of
who answers: how much comes, how slowly, from which host, and packed how (`mmrs.storage.protocols`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from mmrs.errors import RunFailure, UserError
from mmrs.storage.place import MOST_BYTES
from mmrs.storage.protocols.any_store import AnyStoreReading
from mmrs.storage.protocols.body import Body
from mmrs.storage.protocols.http import HttpReading
from mmrs.storage.protocols.hub import HubReading
from mmrs.storage.protocols.protocol import ByteRange, ReadingProtocol
from mmrs.storage.protocols.s3 import S3Reading
from mmrs.storage.retry import DEFAULT_PATIENCE, Patience, retried
from mmrs.storage.urls import describe_error, scheme_of

T = TypeVar("T")
CHUNK = 8 * 2**20
CONNECTIONS = 4
PASSING_CLIENT_ERRORS = (408, 425, 429)
_PROTOCOLS: Mapping[str, ReadingProtocol] = {
    "http": HttpReading(),
    "https": HttpReading(),
    "s3": S3Reading(),
    "s3a": S3Reading(),
    "hf": HubReading(),
}


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
        return self._fetch(name, None, most_bytes)

    def download(self, name: str, size: int, descriptor: int) -> None:
        """Write a file of `size` bytes into `descriptor`, several ranges at a time. Raises as `read`."""
        starts = range(0, size, CHUNK)

        def fetch(start: int) -> None:
            _write(descriptor, self._fetch(name, (start, min(start + CHUNK, size)), size), start)

        with ThreadPoolExecutor(min(CONNECTIONS, len(starts)) or 1) as pool:
            for _ in pool.map(fetch, starts):
                pass

    def _fetch(self, name: str, span: ByteRange | None, most_bytes: int) -> bytes:
        client = self._protocol.open_client(self.url, self.patience.stall_seconds)

        def request() -> bytes:
            body = Body(f"{self.url}/{name}", most_bytes, self.patience.stall_seconds)
            self._protocol.fetch(client, self.url, name, span, body)
            content = bytes(body.content)
            if span is None:
                return content
            if len(content) == most_bytes:
                # A server that knows no ranges answers with the whole file.
                content = content[slice(*span)]
            if len(content) != span[1] - span[0]:
                raise EOFError(f"{len(content)} bytes instead of {span[1] - span[0]}")
            return content

        return self._patiently(name, request)

    def _patiently(self, name: str, request: Callable[[], T]) -> T:
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

        return retried(request, _passing_errors(), self.patience.waits(where), failure)

    @property
    def _protocol(self) -> ReadingProtocol:
        return _PROTOCOLS.get(self.url.partition("://")[0], AnyStoreReading())


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
