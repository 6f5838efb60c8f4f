"""The contract of a protocol, for readers: a client, and one file or a range of it into a body."""

from __future__ import annotations

from typing import Any, Protocol

from mmrs.storage.protocols.body import Body

ByteRange = tuple[int, int]
"""The first byte of a range and the one after its last."""


class ReadingProtocol(Protocol):
    """How files below a checked URL come. Clients give up a silent request and do not try it again themselves."""

    def open_client(self, url: str, stall_seconds: float) -> Any:
        """The fsspec file system; one per process and options. Raises `UserError` where its package is missing."""
        ...

    def fetch(self, client: Any, url: str, name: str, span: ByteRange | None, body: Body) -> None:
        """Put a file below `url`, or a range of it, into `body`. A server may send the whole file for a range.

        Raises:
            RunFailure: more than the body takes.
            PermissionError: a redirect that is not allowed, or a packed answer.
            EOFError: too slow.
            FileNotFoundError: there is no such file.
            Exception: as the client fails; see `mmrs.storage.download`.
        """
        ...
