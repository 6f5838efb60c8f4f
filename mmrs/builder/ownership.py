"""Whose files lie in an output: what a build may replace or remove, and what it leaves to whoever put it there.

A shard's files are ours where the state of its task lies in ``.build/``, where its done-file is one of ours, or where
the manifest lists it. A name alone proves nothing: others have ``train-00000-of-00001.tar``, too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

import orjson

from mmrs.builder.shard import ShardResult
from mmrs.builder.state import state_path
from mmrs.errors import UserError
from mmrs.shards.manifest import MANIFEST_NAME, done_path
from mmrs.shards.quarantine import QUARANTINE_NAME, QuarantineEntry
from mmrs.storage.place import STATE_FOLDER, Place

_NAME = re.compile(
    rf"(?P<state>{re.escape(STATE_FOLDER)}/)?(?P<shard>[a-z0-9-]+/[a-z0-9_-]+-\d{{5}}-of-\d{{5}})"
    r"(?P<end>\.tar|\.parquet|\.done\.json|\.tar\.task)"
)
_FORMAT = re.compile(rb'"format":\s*"mmrs-manifest-')
_SHOWN = 5


def ours_and_others(place: Place, sizes: Collection[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Of the names at a place those that look like a shard's: what builds made, and what somebody else did.

    Raises:
        OSError: the place cannot be read.
    """
    by_shard: dict[str, list[str]] = {}
    for name in sizes:
        match = _NAME.fullmatch(name)
        if match and bool(match["state"]) == (match["end"] == ".tar.task"):
            by_shard.setdefault(f"{match['shard']}.tar", []).append(name)
    unknown = {path for path in by_shard if state_path(path) not in sizes}
    if unknown and MANIFEST_NAME in sizes:
        unknown -= _listed_shards(place.read(MANIFEST_NAME))
    done = place.read_many(sorted(done_path(path) for path in unknown if done_path(path) in sizes))
    unknown -= {path for path in unknown if _is_done_file(done.get(done_path(path), b""))}
    others = frozenset(name for path in unknown for name in by_shard[path])
    return frozenset(name for names in by_shard.values() for name in names) - others, others


def check_ownership(place: Place, in_the_way: Sequence[str], stale_sources: Sequence[str], has_shards: bool) -> None:
    """Refuse to write over what no build made, and to remove a source that the recipe does not have.

    Args:
        in_the_way: names of shards to write, of files that are not ours.
        stale_sources: of which all shards would be removed, unasked.
        has_shards: whether some lie there; a damaged manifest beside them is ours.

    Raises:
        UserError: names what is in the way and what to type.
        OSError: the place cannot be read.
    """
    foreign = [*in_the_way, *_foreign_files(place, has_shards)]
    if foreign:
        raise UserError(
            f"{place} holds {shown_names(foreign)}, which no build made and this one would write over. Choose "
            "another --out, or move that away."
        )
    if stale_sources:
        raise UserError(
            f"{place} is the data set of another recipe: it holds {', '.join(stale_sources)}, and this recipe "
            "does not. Choose another --out, or remove their shards by adding --drop-sources."
        )


def shown_names(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _foreign_files(place: Place, has_shards: bool) -> Iterable[str]:
    """Manifest and quarantine, where they are somebody else's; beside shards of ours they may be damaged."""
    found: Mapping[str, bytes] = {} if has_shards else place.read_many([MANIFEST_NAME, QUARANTINE_NAME])
    if MANIFEST_NAME in found and not _FORMAT.search(found[MANIFEST_NAME]):
        yield MANIFEST_NAME
    first_line = found.get(QUARANTINE_NAME, b"").partition(b"\n")[0]
    if first_line and not _is_quarantine_entry(first_line):
        yield QUARANTINE_NAME


def _listed_shards(manifest: bytes) -> set[str]:
    """The shards that a manifest lists, whatever else of it is wrong."""
    try:
        content = orjson.loads(manifest)
        return {str(shard["path"]) for shard in content["shards"]} if _FORMAT.search(manifest) else set()
    except (ValueError, TypeError, KeyError):
        return set()


def _is_done_file(content: bytes) -> bool:
    try:
        ShardResult.model_validate_json(content)
    except ValueError:
        return False
    return True


def _is_quarantine_entry(line: bytes) -> bool:
    try:
        QuarantineEntry.model_validate_json(line)
    except ValueError:
        return False
    return True
