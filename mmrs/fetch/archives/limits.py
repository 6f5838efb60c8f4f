"""What an archive may ask for; beyond it, it is taken for a hostile or broken one."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmrs.errors import RunFailure
from mmrs.text import bytes_text


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Bounds of one archive.

    Args:
        members: files and folders.
        member_bytes: of one file, unpacked.
        total_bytes: of all files, unpacked.
        expansion: unpacked bytes per packed byte, looked at once `expansion_floor` bytes are out. Images stay near 1,
            label files of text near 30; deflate can reach 1,032.
    """

    members: int = 5_000_000
    member_bytes: int = 1 << 36
    total_bytes: int = 1 << 40
    expansion: float = 200.0
    expansion_floor: int = 1 << 30


@dataclass(slots=True)
class Tally:
    """What of the limits is used up. `packed_bytes` is the size of the archive."""

    archive: str
    limits: ArchiveLimits
    packed_bytes: int
    members: int = field(default=0, init=False)
    unpacked_bytes: int = field(default=0, init=False)

    def count_member(self, name: str, size: int) -> None:
        """Count a file before it is unpacked. Raises RunFailure where a limit is passed."""
        self.members += 1
        if self.members > self.limits.members:
            raise self._too_much(f"more than {self.limits.members:,} members")
        if size > self.limits.member_bytes:
            raise self._too_much(f"{name[:120]!r} has {size:,} bytes")

    def count_bytes(self, count: int) -> None:
        """Count unpacked bytes, before they are written. Raises RunFailure where a limit is passed."""
        self.unpacked_bytes += count
        most = min(self.limits.total_bytes, max(self.limits.expansion_floor, self.limits.expansion * self.packed_bytes))
        if self.unpacked_bytes > most:
            raise self._too_much(f"more than {bytes_text(most)} come out of {bytes_text(self.packed_bytes)}")

    def _too_much(self, what: str) -> RunFailure:
        return RunFailure(f"{self.archive}: {what}; no archive of images is like that, so it is not unpacked.")
