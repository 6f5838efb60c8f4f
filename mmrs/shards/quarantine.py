"""Quarantine: everything that was found and not stored, with path, line and reason."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import orjson
from pydantic import BeforeValidator

from mmrs.config import StrictModel
from mmrs.errors import BadItem
from mmrs.record import UnreadRow
from mmrs.source import Item
from mmrs.text import harmless, harmless_name

QUARANTINE_NAME = "quarantine.jsonl"


# Names of strangers, also where they stand in a reason; other values are left to the model's own check.
HarmlessName = Annotated[str, BeforeValidator(lambda value: harmless_name(value) if isinstance(value, str) else value)]
HarmlessText = Annotated[str, BeforeValidator(lambda value: harmless(value) if isinstance(value, str) else value)]

Level = Literal["item", "object", "part", "set", "excluded", "absent"]


class QuarantineEntry(StrictModel):
    """One image (level ``item``) or one annotation row of an object (level ``object``) that was not stored.

    Level ``absent`` is a thing that is not there (a class folder, an image that a list names): neither image nor row.
    Level ``part`` is a caption or question left out of a stored image; level ``excluded`` is a sound image that the
    recipe's `exclude` lists. Level ``set`` is a finding about the whole source (a file that no list names), whose
    `split` is the first one that was built; it weighs against all images of the source that were built.

    `id` is the record that would have been, where one image is meant: a line with it can go into an `exclude` list.
    `images` is the number of images lost with an item: several for a scene that would have been cut into tiles.

    Paths under the source's root are relative to it, so that equal inputs give equal files wherever they lie.
    """

    source: str
    split: str
    level: Level
    id: HarmlessName | None = None
    path: HarmlessName
    line: int | None = None
    reason: HarmlessText
    images: int = 1

    @property
    def sort_key(self) -> tuple[str, str, str, int, str]:
        return self.source, self.split, self.path, self.line or 0, self.reason


def entry_for(error: BadItem, source: str, split: str, item: Item, root: Path, images: int = 1) -> QuarantineEntry:
    """The entry of a `BadItem` of `item`, whose image is named when the error names no file."""
    return QuarantineEntry(
        source=source,
        split=split,
        level="item",
        id=f"{source}/{split}/{item.stem}",
        path=relative_to_root(error.path or str(item.image), root),
        line=error.line,
        reason=error.reason.replace(str(root) + "/", ""),
        images=images,
    )


def row_entry(row: UnreadRow, source: str, split: str, item: Item, stem: str, root: Path) -> QuarantineEntry:
    """The entry of an annotation row of `item`; `stem` is that of the stored sample which reports it (a tile's own)."""
    place = item.annotations[0] if item.annotations else item.image
    return QuarantineEntry(
        source=source,
        split=split,
        level="object",
        id=f"{source}/{split}/{stem}",
        path=relative_to_root(row.path or str(place), root),
        line=row.line,
        reason=f"{item.stem}: {row.reason}",
        images=0,
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
