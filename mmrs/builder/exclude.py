"""Exclusions: images that a recipe leaves out by their ids, each with its reason.

A list is JSON lines. Used are lines with ``"kind": "removal"`` (of `mmrs curate`) and lines without ``kind`` (of your
own): ``{"id": "hit-uav/train/0_60_30_0_01609", "reason": "the picture is upside down"}``. Other kinds are skipped.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import orjson

from mmrs.errors import UserError
from mmrs.storage.open import read_file

_NO_REASON = "listed by the user"


def load_exclusions(locations: Iterable[Path | str]) -> dict[str, str]:
    """Id -> reason over all lists; the first reason of an id counts.

    Raises:
        UserError: a list cannot be read, or a line of it is no such object; names file and line.
    """
    reasons: dict[str, str] = {}
    for path in locations:
        try:
            lines = read_file(path).splitlines()
        except OSError as error:
            raise UserError(
                f"exclude: {path} cannot be read: {error}. `mmrs curate FOLDER` writes FOLDER/curation.jsonl."
            ) from error
        for number, line in enumerate(lines, 1):
            if line.strip() and (found := _exclusion(line, f"exclude: {path}:{number}")) is not None:
                reasons.setdefault(*found)
    return reasons


def _exclusion(line: bytes, place: str) -> tuple[str, str] | None:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise UserError(f"{place} is no JSON: {error}. Each line is an object with `id` and `reason`.") from error
    if not isinstance(value, dict):
        raise UserError(f"{place} must be an object with `id` and `reason`, found {type(value).__name__}.")
    if value.get("kind", "removal") != "removal":
        return None
    image, reason = value.get("id"), value.get("reason", _NO_REASON)
    if not isinstance(image, str) or not image or not isinstance(reason, str):
        raise UserError(f"{place} must have a text `id` (the id of a record) and, if any, a text `reason`.")
    return image, reason
