"""The body of an answer while it comes: bounded in bytes and in time, whoever sends it and over which protocol."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from mmrs.storage.place import too_large

SLOWEST_BYTES_PER_SECOND = 4096
PART_BYTES = 2**18


@dataclass(slots=True)
class Body:
    """What came so far.

    Args:
        where: names the file in messages.
        most_bytes: after so many the transfer ends.
        grace_seconds: for the beginning of an answer; after so long the mean rate must be `SLOWEST_BYTES_PER_SECOND`.
    """

    where: str
    most_bytes: int
    grace_seconds: float
    content: bytearray = field(default_factory=bytearray, init=False)
    _started: float = field(default_factory=time.monotonic, init=False)

    def expect(self, size: int | None) -> None:
        """Hear how much the sender will send, where it says so. Raises RunFailure where that is too much."""
        if size is not None and size > self.most_bytes:
            raise too_large(self.where, self.most_bytes)

    def add(self, part: bytes) -> None:
        """Take the next part.

        Raises:
            RunFailure: more than `most_bytes` came.
            EOFError: the transfer is too slow.
        """
        self.content += part
        if len(self.content) > self.most_bytes:
            raise too_large(self.where, self.most_bytes)
        seconds = time.monotonic() - self._started
        late_seconds = seconds - self.grace_seconds
        if late_seconds > 0 and len(self.content) < late_seconds * SLOWEST_BYTES_PER_SECOND:
            raise EOFError(f"too slow, {len(self.content)} bytes in {seconds:.0f} s")


def refuse_packed(encoding: str | None) -> None:
    """Raise PermissionError for a body that is packed, by its ``Content-Encoding``: nobody asks for such."""
    if encoding not in (None, "", "identity"):
        raise PermissionError(f"the answer is packed ({encoding[:20]!r}), which was not asked for")
