"""Files of every other storage that fsspec knows, in ranges, so that no answer is larger than what was asked for."""

from __future__ import annotations

from typing import Any

from mmrs.storage.protocols.body import PART_BYTES, Body
from mmrs.storage.protocols.protocol import ByteRange
from mmrs.storage.urls import file_system

_RANGE_BYTES = 32 * PART_BYTES


class AnyStoreReading:
    """See `mmrs.storage.protocols.protocol.ReadingProtocol`."""

    def open_client(self, url: str, stall_seconds: float) -> Any:
        return file_system(url)

    def fetch(self, client: Any, url: str, name: str, span: ByteRange | None, body: Body) -> None:
        path = f"{client._strip_protocol(url).rstrip('/')}/{name}"
        start, stop = span or (0, client.size(path))
        body.expect(stop - start)
        for begin in range(start, stop, _RANGE_BYTES):
            body.add(client.cat_file(path, start=begin, end=min(begin + _RANGE_BYTES, stop)))
