"""Files in S3, by the client of s3fs (aiobotocore), which finds credentials, endpoint and region as AWS's tools do.

Its session follows redirects and reads the text of an error whole, whoever sends it. The one made here does neither;
botocore knows by itself where a bucket has moved to. Nothing is unpacked: an object that is stored packed has another
digest than its manifest says.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any

from mmrs.storage.protocols.body import PART_BYTES, Body
from mmrs.storage.protocols.protocol import ByteRange
from mmrs.storage.urls import check_package, file_system

_MOST_ERROR_BYTES = 2**16


class S3Reading:
    """See `mmrs.storage.protocols.protocol.ReadingProtocol`."""

    def open_client(self, url: str, stall_seconds: float) -> Any:
        check_package(url)
        client = {"connect_timeout": stall_seconds, "read_timeout": stall_seconds, "retries": {"max_attempts": 0}}
        filesystem = file_system(url, config_kwargs=client | {"http_session_cls": _wary_session()})
        filesystem.retries = 1
        return filesystem

    def fetch(self, client: Any, url: str, name: str, span: ByteRange | None, body: Body) -> None:
        from fsspec.asyn import sync

        sync(client.loop, _answer, client, f"{client._strip_protocol(url).rstrip('/')}/{name}", span, body)


async def _answer(client: Any, path: str, span: ByteRange | None, body: Body) -> None:
    bucket, key, version = client.split_path(path)
    asked = {"Bucket": bucket, "Key": key} | ({"VersionId": version} if version else {})
    if span is not None:
        asked["Range"] = f"bytes={span[0]}-{span[1] - 1}"
    # Looking for credentials and making a client takes time that is not the server's.
    await client.set_session()
    await client.get_s3(bucket)
    async with asyncio.timeout(body.grace_seconds):
        response = await client._call_s3("get_object", **asked)
    stream = response["Body"]
    try:
        body.expect(response.get("ContentLength"))
        while part := await stream.read(PART_BYTES):
            body.add(part)
    finally:
        stream.close()


@lru_cache(maxsize=1)
def _wary_session() -> type:
    """A session class of aiobotocore; made late, because the package is an extra."""
    from aiobotocore.httpsession import AIOHTTPSession

    class WarySession(AIOHTTPSession):
        async def _get_session(self, proxy_url: str | None) -> Any:
            return _WithoutRedirects(await super()._get_session(proxy_url))

        async def send(self, request: Any) -> Any:
            response = await super().send(request)
            if response.status_code >= 300:
                response._content = await _beginning(response.raw)
            return response

    return WarySession


class _WithoutRedirects:
    """A session of aiohttp that follows no redirect."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def request(self, method: str, **options: Any) -> Any:
        return self._session.request(method, **options, allow_redirects=False)


async def _beginning(raw: Any) -> bytes:
    """As much of an error's text as anybody wants to read."""
    content = bytearray()
    while len(content) < _MOST_ERROR_BYTES and (part := await raw.content.read(_MOST_ERROR_BYTES - len(content))):
        content += part
    raw.close()
    return bytes(content)
