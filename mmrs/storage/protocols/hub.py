"""Files of the Hugging Face Hub, by the client of `huggingface_hub`, from which names, revisions and tokens come.

Files come by their public address and not by the client's own file object, which reads an answer whole, unpacks it and
follows redirects from https to http. The Hub keeps large files on other hosts, so any host is followed to, over https;
the client sends its token to none of them. What the Hub says of names is believed: it is the place that was typed.
"""

from __future__ import annotations

import asyncio
from typing import Any

from mmrs.storage.protocols.body import Body, refuse_packed
from mmrs.storage.protocols.protocol import ByteRange
from mmrs.storage.urls import file_system

_MOST_REDIRECTS = 5


class HubReading:
    """See `mmrs.storage.protocols.protocol.ReadingProtocol`."""

    def open_client(self, url: str, stall_seconds: float) -> Any:
        return file_system(url)

    def fetch(self, client: Any, url: str, name: str, span: ByteRange | None, body: Body) -> None:
        from fsspec.asyn import get_loop, sync
        from huggingface_hub.utils import build_hf_headers

        address = client.url(f"{client._strip_protocol(url).rstrip('/')}/{name}")
        headers = {**build_hf_headers(token=client.token), "Accept-Encoding": "identity"}
        if span is not None:
            headers["Range"] = f"bytes={span[0]}-{span[1] - 1}"
        sync(get_loop(), _answer, address, headers, body)


async def _answer(address: str, headers: dict[str, str], body: Body) -> None:
    from huggingface_hub.utils import get_async_session

    async with get_async_session() as session:
        # The client's own hook reads the text of an error whole.
        session.event_hooks = {"request": session.event_hooks["request"], "response": []}
        request = session.build_request("GET", address, headers=headers, timeout=body.grace_seconds)
        for _ in range(_MOST_REDIRECTS):
            async with asyncio.timeout(body.grace_seconds):
                response = await session.send(request, stream=True, follow_redirects=False)
            try:
                if response.next_request is None:
                    _check_status(response)
                    refuse_packed(response.headers.get("Content-Encoding"))
                    length = response.headers.get("Content-Length", "")
                    body.expect(int(length) if length.isdecimal() else None)
                    # With a size it would wait until so much is there.
                    async for part in response.aiter_raw():
                        body.add(part)
                    return
                request = _allowed(request, response.next_request)
            finally:
                await response.aclose()
    raise PermissionError(f"more than {_MOST_REDIRECTS} redirects")


def _check_status(response: Any) -> None:
    said = response.headers.get("X-Error-Message") or f"{response.status_code} {response.reason_phrase}"
    if response.status_code == 404:
        raise FileNotFoundError(said)
    if response.status_code in (401, 403):
        raise PermissionError(said)
    response.raise_for_status()


def _allowed(asked: Any, following: Any) -> Any:
    """`following` where a request may be sent on to it."""
    if following.url.scheme != "https" and (following.url.scheme, asked.url.scheme) != ("http", "http"):
        raise PermissionError(f"it redirects to {following.url.scheme}://{following.url.host}, which is not https")
    return following
