"""What other commands found out about images: `quarantine.jsonl` of `mmrs build`, `curation.jsonl` of `mmrs curate`.

Both are of the data set's folder; a curation of another state of it is told and not used.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import polars as pl

from mmrs.curation.report import CURATION_NAME, SUMMARY_NAME
from mmrs.errors import RunFailure, UserError
from mmrs.shards.quarantine import QUARANTINE_NAME
from mmrs.shards.reader import ShardSet
from mmrs.storage.open import open_readable


@dataclass
class Findings:
    """By row of the catalogue.

    Args:
        quarantine: entries of images that are stored (an annotation row or a caption of theirs is not).
        not_stored: all other entries of the quarantine.
        group: number of the group of images that show one picture, into `groups`.
        groups: rows of each group.
        leaks: why a training image should go.
        faults: what is odd in text or boxes.
        notes: what was not used, and why, for a person.
    """

    quarantine: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    not_stored: list[dict[str, Any]] = field(default_factory=list)
    group: dict[int, int] = field(default_factory=dict)
    groups: list[list[int]] = field(default_factory=list)
    leaks: dict[int, str] = field(default_factory=dict)
    faults: dict[int, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def load_findings(shards: ShardSet, ids: pl.Series) -> Findings:
    """Read both files; `ids` are those of the catalogue.

    Raises:
        UserError: a file is damaged; names it and the command that writes it again.
    """
    found = Findings()
    entries = list(_lines(shards.quarantine(), f"{shards.location}/{QUARANTINE_NAME}", "mmrs build"))
    curation = _curation(shards, found)
    named = {entry["id"] for entry in entries if isinstance(entry.get("id"), str)}
    for line in curation:
        named |= {line.get("id"), *(line.get("images") or ())}
    rows = find_rows(ids, named)
    quarantine: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for entry in entries:
        row = rows.get(entry.get("id"))
        if row is None:
            found.not_stored.append(entry)
        else:
            quarantine[row].append(entry)
    found.quarantine = dict(quarantine)
    _sort_in(found, curation, rows)
    return found


def find_rows(ids: pl.Series, wanted: Iterable[Any]) -> dict[Any, int]:
    """The row of each of the wanted ids that is there."""
    names = pl.DataFrame({"id": [name for name in wanted if isinstance(name, str)]}, schema={"id": pl.String})
    table = pl.DataFrame({"id": ids}).with_row_index("row").join(names, on="id", how="semi")
    return dict(zip(table["id"].to_list(), table["row"].to_list(), strict=True))


def _curation(shards: ShardSet, found: Findings) -> list[dict[str, Any]]:
    place = open_readable(shards.location)
    try:
        summary = orjson.loads(place.read(SUMMARY_NAME))
        content = place.read(CURATION_NAME)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (UserError, RunFailure):
        # At a URL a file that is not there is told in words of its own.
        return []
    except (OSError, orjson.JSONDecodeError) as error:
        raise UserError(
            f"{shards.location}/{SUMMARY_NAME} cannot be read: {error}. Run `mmrs curate` again."
        ) from error
    if not isinstance(summary, dict) or summary.get("data_set") != shards.manifest.id:
        found.notes.append(f"{CURATION_NAME} is of another state of this data set and is not shown: run mmrs curate")
        return []
    return list(_lines(content, f"{shards.location}/{CURATION_NAME}", "mmrs curate"))


def _sort_in(found: Findings, curation: list[dict[str, Any]], rows: dict[Any, int]) -> None:
    for line in curation:
        row = rows.get(line.get("id"))
        if line.get("kind") == "group":
            members = [rows[image] for image in line.get("images") or () if image in rows]
            found.group |= dict.fromkeys(members, len(found.groups))
            found.groups.append(members)
        elif line.get("kind") == "removal" and row is not None:
            found.leaks[row] = str(line.get("reason", ""))
        elif line.get("kind") == "finding" and row is not None:
            words = f"{line.get('check')}: {line.get('place')}: {line.get('what')}"
            found.faults.setdefault(row, []).append(words)


def _lines(content: bytes, where: str, command: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(content.splitlines(), 1):
        try:
            value = orjson.loads(line)
            if not isinstance(value, dict):
                raise ValueError(f"{type(value).__name__}, no object")
            images = value.get("images")
            # In a quarantine it is a number.
            if value.get("kind") == "group" and not (
                isinstance(images, list) and all(isinstance(image, str) for image in images)
            ):
                raise ValueError("a group without a list of images")
            if not isinstance(value.get("id"), str | None):
                raise ValueError("an id that is no text")
        except ValueError as error:
            raise UserError(f"{where}:{number} cannot be read: {error}. Run `{command}` again.") from error
        if not isinstance(images, list):
            value.pop("images", None)
        yield value
