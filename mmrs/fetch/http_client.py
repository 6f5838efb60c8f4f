"""GET over http(s) for downloads, by the standard library's client. Nothing is believed of a server.

`urllib.request` brings proxies and certificates; what it lacks is here: redirects go only to hosts that the caller
allows, headers have to come in time, and a body that is packed is refused. httpx2, which huggingface_hub brings, would
do too at 0.6 of the speed (`benchmarks/fetch.py`), and its name differs between versions of that library.
"""

from __future__ import annotations

import http.client
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

from mmrs.storage.protocols.body import refuse_packed
from mmrs.storage.protocols.http import REDIRECT_HOSTS

_MOST_REDIRECTS = 8
_REDIRECTS = (301, 302, 303, 307, 308)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_AGENT = "mmrs-fetch"
_MOST_SMALL_BYTES = 2**25
# Of what a server asks to wait (Retry-After).
MOST_ASKED_SECONDS = 900.0


class RefusedStatus(OSError):
    """A server's answer that is neither a file nor a redirect.

    `status` of HTTP; `retry_seconds` that the server asks to wait, 0 where it says nothing.
    """

    def __init__(self, status: int, reason: str, retry_seconds: float = 0.0) -> None:
        super().__init__(f"HTTP {status} {reason}".rstrip())
        self.status = status
        self.retry_seconds = retry_seconds


class RefusedAddress(PermissionError):
    """An address that the catalogue does not allow; nothing was sent there."""


@dataclass(frozen=True, slots=True)
class Address:
    """A file on the web.

    Args:
        url: where it is asked for.
        hosts: that may deliver it, redirects included; ``*.example.org`` is every host below that name. The host of
            `url` itself must be one of them.
        secret_headers: sent to the host of `url` alone, and not over http but to this machine.
    """

    url: str
    hosts: tuple[str, ...]
    secret_headers: Mapping[str, str]


class HttpAnswer:
    """The open answer to a GET; a context manager. `headers` are found in any case."""

    def __init__(self, response: Any, url: str) -> None:
        self._response = response
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        self.url = url

    def read_some(self, most_bytes: int) -> bytes:
        """What has come, at most so much; nothing at the end. Raises EOFError where the server breaks off."""
        try:
            return bytes(self._response.read1(most_bytes))
        except http.client.HTTPException as error:
            raise EOFError(f"the answer broke off ({type(error).__name__})") from error

    @property
    def length(self) -> int | None:
        """Bytes of the body, where the server says so."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isdecimal() and text.isascii() else None

    def __enter__(self) -> HttpAnswer:
        return self

    def __exit__(self, *exception: object) -> None:
        self._response.close()


def open_address(address: Address, headers: Mapping[str, str], stall_seconds: float) -> HttpAnswer:
    """Ask for a file and follow redirects to allowed hosts.

    Args:
        headers: beside those of every request; a ``Range`` for instance.
        stall_seconds: after so many silent seconds, or so many until all headers are there, the request is given up.

    Raises:
        RefusedAddress: the address or a redirect is not allowed; names the host.
        RefusedStatus: the server refuses, or fails.
        OSError: no connection, or silence.
    """
    opener = urllib.request.build_opener(
        _NoRedirect, _http_handler(stall_seconds), _https_handler(stall_seconds), urllib.request.ProxyHandler()
    )
    plain = {"User-Agent": _AGENT, "Accept-Encoding": "identity", **headers}
    url = address.url
    for _ in range(_MOST_REDIRECTS):
        _check_allowed(url, address.hosts, came_from=address.url)
        own = address.secret_headers if _may_have_secrets(url, address.url) else {}
        request = urllib.request.Request(url, headers=plain | dict(own))
        try:
            response = opener.open(request, timeout=stall_seconds)
        except urllib.error.HTTPError as error:
            with error:
                if error.code not in _REDIRECTS:
                    raise RefusedStatus(error.code, str(error.reason)[:80], _retry_seconds(error.headers)) from None
                url = urljoin(url, error.headers.get("Location") or "")
            continue
        except urllib.error.URLError as error:
            # What is wrapped in it says what happened.
            raise error.reason if isinstance(error.reason, OSError) else OSError(str(error.reason)) from None
        except http.client.HTTPException as error:
            raise EOFError(f"{type(error).__name__}: the server's answer is no HTTP") from error
        try:
            refuse_packed(response.headers.get("Content-Encoding"))
        except PermissionError:
            response.close()
            raise
        return HttpAnswer(response, url)
    raise RefusedAddress(f"more than {_MOST_REDIRECTS} redirects")


def read_small(address: Address, stall_seconds: float, headers: Mapping[str, str] | None = None) -> bytes:
    """A whole answer of at most 32 MiB: a listing, a page. Raises as `open_address`, and EOFError for a longer one."""
    with open_address(address, headers or {}, stall_seconds) as answer:
        content = bytearray()
        deadline = time.monotonic() + 4 * stall_seconds
        while part := answer.read_some(2**18):
            content += part
            if len(content) > _MOST_SMALL_BYTES:
                raise EOFError(f"more than {_MOST_SMALL_BYTES:,} bytes, where a listing was expected")
            if time.monotonic() > deadline:
                raise EOFError("too slow")
        return bytes(content)


def asked_pause(error: Exception) -> float:
    """Seconds that a server asked to wait, by what it raised; at most `MOST_ASKED_SECONDS`."""
    return min(getattr(error, "retry_seconds", 0.0), MOST_ASKED_SECONDS)


def pause_as_asked(seconds: float, error: Exception) -> None:
    """Wait, and longer where the server asked for it; for `mmrs.storage.retry.retried`."""
    time.sleep(max(seconds, asked_pause(error)))


def is_allowed(host: str | None, hosts: Sequence[str]) -> bool:
    """Whether a host is one of `hosts`, or below one that begins with ``*.``."""
    return host is not None and any(
        host.endswith(known[1:]) if known.startswith("*.") else host == known for known in hosts
    )


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine."""
    return urlsplit(url).hostname in _LOOPBACK


def _check_allowed(url: str, hosts: Sequence[str], came_from: str) -> None:
    target = urlsplit(url)
    typed = [host.strip() for host in os.environ.get(REDIRECT_HOSTS, "").split(",") if host.strip()]
    is_same_place = (target.scheme, target.netloc) == (urlsplit(came_from).scheme, urlsplit(came_from).netloc)
    is_safe = target.scheme == "https" or (target.scheme == "http" and (is_loopback(url) or is_same_place))
    if not is_safe or not is_allowed(target.hostname, [*hosts, *typed]):
        raise RefusedAddress(
            f"{target.scheme}://{target.hostname} is none of the hosts that the catalogue names "
            f"({', '.join(hosts)}), or is not https; where that is right, set {REDIRECT_HOSTS}={target.hostname}"
        )


def _may_have_secrets(url: str, asked: str) -> bool:
    new, old = urlsplit(url), urlsplit(asked)
    return (new.scheme, new.netloc) == (old.scheme, old.netloc) and (new.scheme == "https" or is_loopback(url))


def _retry_seconds(headers: Any) -> float:
    """The seconds of ``Retry-After``, which is a number or a date; 0 where there is none that can be read."""
    text = (headers.get("Retry-After") or "").strip()
    if text.isdecimal() and text.isascii() and len(text) < 10:
        return float(text)
    with suppress(ValueError, TypeError, OverflowError):
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    return 0.0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        return None


class _InTime:
    """Of a connection: headers that drip are given up too; each byte of them begins the socket's own time again."""

    sock: socket.socket | None
    header_seconds: float

    def getresponse(self) -> Any:
        held = self.sock
        late = threading.Timer(self.header_seconds, _shut, (held,))
        late.daemon = True
        late.start()
        try:
            return super().getresponse()  # type: ignore[misc]
        except (http.client.HTTPException, ValueError) as error:
            raise EOFError(f"no answer in time, or none of HTTP ({type(error).__name__})") from error
        finally:
            late.cancel()


def _shut(held: socket.socket | None) -> None:
    if held is not None:
        with suppress(OSError):
            held.shutdown(socket.SHUT_RDWR)


class _Plain(_InTime, http.client.HTTPConnection):
    pass


class _Secure(_InTime, http.client.HTTPSConnection):
    pass


def _timed(kind: Any, seconds: float) -> Any:
    return type("Timed", (kind,), {"header_seconds": seconds})


def _http_handler(seconds: float) -> urllib.request.HTTPHandler:
    class Handler(urllib.request.HTTPHandler):
        def http_open(self, request: urllib.request.Request) -> Any:
            return self.do_open(_timed(_Plain, seconds), request)

    return Handler()


def _https_handler(seconds: float) -> urllib.request.HTTPSHandler:
    class Handler(urllib.request.HTTPSHandler):
        def https_open(self, request: urllib.request.Request) -> Any:
            return self.do_open(_timed(_Secure, seconds), request, context=self._context)  # type: ignore[attr-defined]

    return Handler()
