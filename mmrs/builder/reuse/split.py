"""Cut a finished data set into several by whole shards: by source, split or sensor, or into a share held out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmrs.builder.reuse.combination import Combination, combine
from mmrs.builder.reuse.parts import SplitName, read_parts
from mmrs.builder.reuse.run import ReuseResult, write_combination
from mmrs.errors import UserError
from mmrs.progress import Progress
from mmrs.seeding import seeded_order
from mmrs.shards.manifest import Manifest, ShardEntry
from mmrs.shards.reader import ShardSet

SplitRule = Literal["source", "split", "sensor"]
_KEPT, _HELD_OUT = "kept", "held-out"


@dataclass(frozen=True, slots=True)
class HeldOutShare:
    """Of each split that is trained on, whole shards with about this `share` (0..1) of its images, drawn by `seed`."""

    share: float
    seed: int = 0


def split_data_set(
    location: Path | str,
    out: Path | str,
    rule: SplitRule | HeldOutShare,
    progress: Progress,
    workers: int,
    links: bool = True,
) -> list[ReuseResult]:
    """Make several data sets of the shards of one, each in a folder of `out` that has its name.

    A held-out part is for evaluation alone; all else stays what it was meant for.

    Raises:
        UserError: no such data set, no training split has two shards, or as `write_combination`.
        RunFailure: the data set is damaged, or as `write_combination`.
    """
    shards = ShardSet(location)
    plan = _held_out(shards, rule) if isinstance(rule, HeldOutShare) else _by_rule(shards, rule)
    results = [
        write_combination(part, out / name if isinstance(out, Path) else f"{out}/{name}", progress, workers, links)
        for name, part in plan.items()
    ]
    shards.close()
    return results


def _by_rule(shards: ShardSet, rule: SplitRule) -> dict[str, Combination]:
    manifest = shards.manifest
    names: dict[str, set[SplitName]] = defaultdict(set)
    for name, source in manifest.sources.items():
        for split in source.splits:
            names[{"source": name, "split": split, "sensor": source.sensor}[rule]].add((name, split))
    stored = {(shard.source, shard.split) for shard in manifest.shards}
    return {name: _part(shards, members) for name, members in sorted(names.items()) if members & stored}


def _part(shards: ShardSet, members: Collection[SplitName]) -> Combination:
    return combine(read_parts(shards, lambda name, entries: range(len(entries)) if name in members else None))


def _held_out(shards: ShardSet, rule: HeldOutShare) -> dict[str, Combination]:
    drawn = draw_shards(shards.manifest, rule)
    if not any(drawn.values()):
        raise UserError(
            f"{shards.location}: no split that is trained on has two shards, and a shard is not cut. Build it again "
            "with a smaller `--set shard_bytes=...`."
        )

    def kept(name: SplitName, entries: Sequence[ShardEntry]) -> list[int]:
        return [place for place in range(len(entries)) if place not in drawn.get(name, ())]

    def held_out(name: SplitName, entries: Sequence[ShardEntry]) -> list[int] | None:
        return sorted(drawn.get(name, ())) or None

    return {
        _KEPT: combine(read_parts(shards, kept)),
        _HELD_OUT: combine(read_parts(shards, held_out), trained_on=False),
    }


def draw_shards(manifest: Manifest, rule: HeldOutShare) -> dict[SplitName, frozenset[int]]:
    """For each split that is trained on the places, among its shards, of those that are held out.

    At least one and never all of them, as near to the share as whole shards come; none of a split with one shard.
    """
    by_split: dict[SplitName, list[ShardEntry]] = defaultdict(list)
    for shard in manifest.shards:
        if shard.split in manifest.sources[shard.source].train_splits:
            by_split[shard.source, shard.split].append(shard)
    return {name: _draw(entries, rule) for name, entries in sorted(by_split.items())}


def _draw(entries: Sequence[ShardEntry], rule: HeldOutShare) -> frozenset[int]:
    wanted = rule.share * sum(entry.records for entry in entries)
    order = seeded_order([entry.path for entry in entries], rule.seed, "held out")
    drawn, records = 0, 0
    for place in order[:-1]:
        after = records + entries[place].records
        if drawn and abs(after - wanted) >= abs(records - wanted):
            break
        drawn, records = drawn + 1, after
    return frozenset(order[:drawn])
