"""The list that the page writes: images to leave out of the next build, as lines of a recipe's `exclude`."""

from __future__ import annotations

import threading
from pathlib import Path

import orjson

from mmrs.builder.exclude import load_exclusions
from mmrs.storage.atomic import write_atomic


class ExclusionList:
    """A file of lines; what others wrote into it stays.

    Args:
        path: of the file, which need not exist yet.

    Raises:
        UserError: it exists and is no such list.
    """

    def __init__(self, path: Path):
        self.path = path
        self._lines = path.read_bytes().splitlines() if path.exists() else []
        self.reasons = load_exclusions([path]) if path.exists() else {}
        self._lock = threading.Lock()

    def add(self, record_id: str, reason: str) -> None:
        """Write a line. Raises OSError."""
        with self._lock:
            if record_id not in self.reasons:
                self._write([*self._lines, orjson.dumps({"id": record_id, "reason": reason})])
                self.reasons[record_id] = reason

    def remove(self, record_id: str) -> None:
        """Take the lines of an image away. Raises OSError."""
        with self._lock:
            kept = [line for line in self._lines if not line.strip() or orjson.loads(line).get("id") != record_id]
            self._write(kept)
            self.reasons.pop(record_id, None)

    def _write(self, lines: list[bytes]) -> None:
        write_atomic(self.path, b"".join(line + b"\n" for line in lines))
        self._lines = lines
