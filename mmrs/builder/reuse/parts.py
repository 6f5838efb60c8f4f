"""What is taken of the splits of finished data sets: their shards, and what was found and not stored.

Counts and quarantine of some shards are those of their done-files. What of a split belongs to no shard (images that the
survey could not use, findings about the whole source) goes with the first shard of it, so that nothing is lost and
nothing told twice, however a data set is cut and put together again.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from mmrs.builder.shard import ShardResult
from mmrs.errors import RunFailure
from mmrs.shards.manifest import COUNTS, COUNTS_BY_WORD, Manifest, ShardEntry, SplitCounts, done_path, sum_counts
from mmrs.shards.quarantine import QuarantineEntry, to_jsonl
from mmrs.shards.reader import ShardSet
from mmrs.storage.download import fetch_all
from mmrs.storage.open import open_readable
from mmrs.storage.place import read_settled
from mmrs.text import see_verify, shorten

_MOST_DONE_BYTES = 256 * 2**20
_SHOWN_LETTERS = 200
SplitName = tuple[str, str]


@dataclass(frozen=True, slots=True)
class TakenShard:
    """A shard of a finished data set: where it lies there, and the content of its done-file."""

    shards: ShardSet
    position: int
    done: bytes
    result: ShardResult

    @property
    def entry(self) -> ShardEntry:
        return self.shards.manifest.shards[self.position]


@dataclass(frozen=True, slots=True)
class Unstored:
    """What was found in a split and is in no shard of it: its counts, and the lines of the quarantine."""

    counts: SplitCounts
    entries: tuple[QuarantineEntry, ...]


@dataclass(frozen=True, slots=True)
class SplitPart:
    """What is taken of one split of one data set; `is_trained_on` says whether it is meant to be."""

    parent: Manifest
    source: str
    split: str
    shards: tuple[TakenShard, ...]
    unstored: Unstored | None
    is_whole: bool
    is_trained_on: bool


Chosen = Callable[[SplitName, Sequence[ShardEntry]], Iterable[int] | None]


def read_parts(shards: ShardSet, chosen: Chosen) -> list[SplitPart]:
    """The chosen parts of a data set's splits; their done-files are read and compared with the manifest.

    Args:
        chosen: is told a split and its shards, and says which of these are taken, by their place among them; None for
            a split of which nothing is, not even what is in no shard.

    Raises:
        RunFailure: a done-file or the quarantine is missing or contradicts the manifest.
        UserError: as `mmrs.storage.place.ReadablePlace.read`.
    """
    manifest = shards.manifest
    by_split: dict[SplitName, list[int]] = {
        (name, split): [] for name, source in manifest.sources.items() for split in source.splits
    }
    for position, entry in enumerate(manifest.shards):
        by_split[entry.source, entry.split].append(position)
    wanted = {name: chosen(name, [manifest.shards[n] for n in numbers]) for name, numbers in by_split.items()}
    asked = {name: by_split[name] for name, places in wanted.items() if places is not None}
    taken = _taken_shards(shards, [position for positions in asked.values() for position in positions])
    lines = _quarantine(shards)
    parts = []
    for name, positions in asked.items():
        source, split = name
        all_of_it = [taken[position] for position in positions]
        here = [all_of_it[place] for place in wanted[name] or ()]
        has_first = not positions or (bool(here) and here[0].position == positions[0])
        parts.append(
            SplitPart(
                parent=manifest,
                source=source,
                split=split,
                shards=tuple(here),
                unstored=_unstored(shards, name, all_of_it, lines[name]) if has_first else None,
                is_whole=len(here) == len(all_of_it),
                is_trained_on=split in manifest.sources[source].train_splits,
            )
        )
    return parts


def _taken_shards(shards: ShardSet, positions: Sequence[int]) -> dict[int, TakenShard]:
    place = open_readable(shards.location)
    taken: dict[int, TakenShard] = {}

    def read(position: int) -> None:
        entry = shards.manifest.shards[position]
        name = done_path(entry.path)
        try:
            content = read_settled(place, name, lambda found: _disagreement(found, entry) == "", _MOST_DONE_BYTES)
        except OSError as error:
            raise RunFailure(f"{place}/{name} cannot be read: {error}. {see_verify(shards.location)}") from error
        if what := _disagreement(content, entry):
            raise RunFailure(f"{place}/{name} {what}. {see_verify(shards.location)}")
        result = ShardResult.model_validate_json(content)
        taken[position] = TakenShard(shards, position, content, result)

    fetch_all(read, positions)
    return taken


def _disagreement(content: bytes, entry: ShardEntry) -> str:
    """What is wrong with a shard's done-file; empty where nothing is."""
    try:
        result = ShardResult.model_validate_json(content)
    except ValidationError as error:
        return f"is no done-file: {shorten(str(error), _SHOWN_LETTERS)}"
    for fact in ("records", "bytes", "sha256", "index_bytes", "index_sha256"):
        if getattr(result, fact) != getattr(entry, fact):
            return f"and the manifest disagree on {fact}"
    return ""


def _quarantine(shards: ShardSet) -> Mapping[SplitName, list[QuarantineEntry]]:
    try:
        content = shards.quarantine()
        if hashlib.sha256(content).hexdigest() != shards.manifest.quarantine_sha256:
            raise ValueError("not the file that the manifest names")
        entries = [QuarantineEntry.model_validate_json(line) for line in content.splitlines()]
    except (OSError, ValueError) as error:
        where = f"{shards.location}/quarantine.jsonl"
        raise RunFailure(f"{where} cannot be used: {error}. {see_verify(shards.location)}") from error
    by_split: dict[SplitName, list[QuarantineEntry]] = defaultdict(list)
    for entry in entries:
        by_split[entry.source, entry.split].append(entry)
    return by_split


def _unstored(
    shards: ShardSet, name: SplitName, all_of_it: Sequence[TakenShard], entries: Sequence[QuarantineEntry]
) -> Unstored:
    """What of a split is in the manifest and in no done-file."""
    source, split = name
    told = Counter(entry for shard in all_of_it for entry in shard.result.quarantine)
    left = Counter(entries)
    left.subtract(told)
    total = shards.manifest.sources[source].splits[split]
    counts = _difference(total, sum_counts(shard.result.counts for shard in all_of_it))
    if counts is None or min(left.values(), default=0) < 0 or counts.records:
        raise RunFailure(
            f"{shards.location}: its done-files of {source}/{split} tell of more than its manifest. "
            f"{see_verify(shards.location)}"
        )
    return Unstored(counts, tuple(left.elements()))


def _difference(total: SplitCounts, told: SplitCounts) -> SplitCounts | None:
    """`total` less `told`; None where that has more of anything."""
    numbers = {name: getattr(total, name) - getattr(told, name) for name in COUNTS}
    by_word = {}
    for name in COUNTS_BY_WORD:
        left = Counter(getattr(total, name))
        left.subtract(getattr(told, name))
        by_word[name] = {word: count for word, count in sorted(left.items()) if count}
    if min([*numbers.values(), *(count for counts in by_word.values() for count in counts.values())]) < 0:
        return None
    return SplitCounts.model_validate(numbers | by_word)


def quarantine_of(parts: Iterable[tuple[Sequence[TakenShard], Sequence[Unstored]]]) -> bytes:
    """The content of `quarantine.jsonl` for shards, and what belongs to none of them."""
    return to_jsonl(_entries(parts))


def _entries(parts: Iterable[tuple[Sequence[TakenShard], Sequence[Unstored]]]) -> Iterator[QuarantineEntry]:
    for shards, unstored in parts:
        for shard in shards:
            yield from shard.result.quarantine
        for rest in unstored:
            yield from rest.entries
