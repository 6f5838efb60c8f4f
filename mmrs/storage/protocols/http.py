"""Files over http(s), by the session of fsspec's file system. Nothing is believed of a server."""

from __future__ import annotations

import asyncio
import os
from typing import Any
from urllib.parse import urljoin, urlsplit

from mmrs.storage.protocols.body import PART_BYTES, Body, refuse_packed
from mmrs.storage.protocols.protocol import ByteRange
from mmrs.storage.urls import check_package, file_system

# A redirect to another host than the one that was typed may lead into a closed network.
REDIRECT_HOSTS = "MMRS_REDIRECT_HOSTS"
_MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)


class HttpReading:
    """See `mmrs.storage.protocols.protocol.ReadingProtocol`."""

    def open_client(self, url: str, stall_seconds: float) -> Any:
        check_package(url)
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, connect=stall_seconds, sock_read=stall_seconds)
        headers = {"Accept-Encoding": "identity"}
        client = {"timeout": timeout, "headers": headers, "trust_env": True, "auto_decompress": False}
        return file_system(url, client_kwargs=client)

    def fetch(self, client: Any, url: str, name: str, span: ByteRange | None, body: Body) -> None:
        from fsspec.asyn import sync

        headers = {} if span is None else {"Range": f"bytes={span[0]}-{span[1] - 1}"}
        sync(client.loop, _answer, client, f"{url}/{name}", headers, body)


async def _answer(client: Any, url: str, headers: dict[str, str], body: Body) -> None:
    session = await client.set_session()
    at = url
    for _ in range(_MOST_REDIRECTS):
        # Headers may drip, too.
        async with asyncio.timeout(body.grace_seconds):
            response = await session.get(at, headers=headers, allow_redirects=False)
        async with response:
            if response.status not in _REDIRECTS:
                client._raise_not_found_for_status(response, url)
                refuse_packed(response.headers.get("Content-Encoding"))
                body.expect(response.content_length)
                async for part in response.content.iter_chunked(PART_BYTES):
                    body.add(part)
                return
            at = _allowed(url, urljoin(at, response.headers.get("Location", "")))
    raise PermissionError(f"more than {_MOST_REDIRECTS} redirects")


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
