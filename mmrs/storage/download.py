"""Reading from a URL, through fsspec: patiently, in ranges, and never less than was asked for.

A large file is made of ranges of `CHUNK` bytes, several at a time, each tried again by itself: fsspec's own `get_file`
begins again at byte 0 when the connection breaks, and knows no digest. Clients of protocols are told to give up a
request that is silent, and not to try it again themselves, so that one rule counts the tries. Over http nothing is
believed: how much comes, how slowly, from which host, and packed how.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

from mmrs.errors import RunFailure, UserError
from mmrs.storage.place import MOST_BYTES, too_large
from mmrs.storage.retry import DEFAULT_PATIENCE, Patience, retried
from mmrs.storage.urls import check_package, describe_error, file_system, scheme_of

T = TypeVar("T")
CHUNK = 8 * 2**20
CONNECTIONS = 4
PASSING_CLIENT_ERRORS = (408, 425, 429)
# A redirect to another host than the one that was typed may lead into a closed network.
REDIRECT_HOSTS = "MMRS_REDIRECT_HOSTS"
SLOWEST_BYTES_PER_SECOND = 4096
_MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_PART_BYTES = 2**18


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
        content = self._patiently(name, lambda filesystem: self._whole(filesystem, name, most_bytes))
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

    def _whole(self, filesystem: Any, name: str, most_bytes: int) -> bytes:
        address = self._address(filesystem, name)
        if self.url.startswith("http"):
            return _http_get(filesystem, address, most_bytes, self.patience.stall_seconds, {})
        return filesystem.cat_file(address)

    def _range(self, filesystem: Any, name: str, start: int, stop: int, size: int) -> bytes:
        options = {"cache_type": "none"} if self.url.startswith("hf:") else {}
        address = self._address(filesystem, name)
        if self.url.startswith("http"):
            asked = {"Range": f"bytes={start}-{stop - 1}"}
            data = _http_get(filesystem, address, size, self.patience.stall_seconds, asked)
        else:
            data = filesystem.cat_file(address, start=start, end=stop, **options)
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
            client = {"timeout": timeout, "headers": headers, "trust_env": True, "auto_decompress": False}
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


def _http_get(filesystem: Any, url: str, most_bytes: int, grace_seconds: float, headers: Mapping[str, str]) -> bytes:
    """The body of an answer, by fsspec's http file system.

    Args:
        grace_seconds: after so long the mean rate must be `SLOWEST_BYTES_PER_SECOND`.

    Raises:
        RunFailure: more than `most_bytes` come.
        PermissionError: a redirect to a host that was not allowed, or a packed answer.
        EOFError: the transfer is too slow.
        FileNotFoundError, aiohttp.ClientError: as the server says.
    """
    from fsspec.asyn import sync

    return sync(filesystem.loop, _answer, filesystem, url, most_bytes, grace_seconds, headers)


async def _answer(
    filesystem: Any, url: str, most_bytes: int, grace_seconds: float, headers: Mapping[str, str]
) -> bytes:
    session = await filesystem.set_session()
    at = url
    for _ in range(_MOST_REDIRECTS):
        async with session.get(at, headers=dict(headers), allow_redirects=False) as response:
            if response.status not in _REDIRECTS:
                filesystem._raise_not_found_for_status(response, url)
                return await _body(response, filesystem.loop, most_bytes, grace_seconds)
            at = _allowed(url, urljoin(at, response.headers.get("Location", "")))
    raise PermissionError(f"more than {_MOST_REDIRECTS} redirects")


async def _body(response: Any, loop: Any, most_bytes: int, grace_seconds: float) -> bytes:
    packed = response.headers.get("Content-Encoding", "identity")
    if packed != "identity":
        raise PermissionError(f"the answer is packed ({packed[:20]!r}), which was not asked for")
    where = f"{response.url.origin()}{response.url.path}"
    if (response.content_length or 0) > most_bytes:
        raise too_large(where, most_bytes)
    started, content = loop.time(), bytearray()
    async for part in response.content.iter_chunked(_PART_BYTES):
        content += part
        if len(content) > most_bytes:
            raise too_large(where, most_bytes)
        seconds = loop.time() - started - grace_seconds
        if seconds > 0 and len(content) < seconds * SLOWEST_BYTES_PER_SECOND:
            raise EOFError(f"too slow, {len(content)} bytes in {loop.time() - started:.0f} s")
    return bytes(content)


def _allowed(typed: str, target: str) -> str:
    """`target` where a request for `typed` may be sent on to it."""
    old, new = urlsplit(typed), urlsplit(target)
    hosts = [host.strip() for host in os.environ.get(REDIRECT_HOSTS, "").split(",")]
    is_safe = new.scheme == "https" or (new.scheme == "http" and old.scheme == "http")
    if not is_safe or new.hostname not in (old.hostname, *hosts):
        raise PermissionError(
            f"it redirects to {new.scheme}://{new.hostname}, another host; where that is right, set "
            f"{REDIRECT_HOSTS}={new.hostname}"
        )
    return target
