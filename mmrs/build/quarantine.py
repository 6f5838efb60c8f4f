"""Quarantine: everything that was found and not stored, with path, line and reason."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict

from mmrs.errors import BadItem

QUARANTINE_NAME = "quarantine.jsonl"


class QuarantineEntry(BaseModel):
    """One image (level ``item``) or one object of a stored image (level ``object``) that was not stored.

    Level ``part`` is a caption or question left out of a stored image.

    `images` is the number of images lost with an item: several for a scene that would have been cut into tiles.

    Paths under the source's root are relative to it, so that equal inputs give equal files wherever they lie.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    split: str
    level: Literal["item", "object", "part"]
    path: str
    line: int | None = None
    reason: str
    images: int = 1

    @property
    def sort_key(self) -> tuple[str, str, str, int, str]:
        return self.source, self.split, self.path, self.line or 0, self.reason


def entry_for(error: BadItem, source: str, split: str, fallback: Path, root: Path, images: int = 1) -> QuarantineEntry:
    """The entry of a `BadItem`; `fallback` is the file to name when the error names none."""
    path = relative_to_root(error.path or str(fallback), root)
    reason = error.reason.replace(str(root) + "/", "")
    return QuarantineEntry(
        source=source, split=split, level="item", path=path, line=error.line, reason=reason, images=images
    )


def relative_to_root(path: str, root: Path) -> str:
    """`path` below `root`, or as it is where it lies elsewhere."""
    start = f"{root}/"
    if path.startswith(start):
        return path[len(start) :]
    return str(Path(path).relative_to(root)) if Path(path).is_relative_to(root) else path


def to_jsonl(entries: Iterable[QuarantineEntry]) -> bytes:
    """Sorted JSON lines."""
    lines = [
        orjson.dumps(entry.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
        for entry in sorted(entries, key=lambda entry: entry.sort_key)
    ]
    return b"".join(lines)
