"""Join finished data sets, or take some sources and splits of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmrs.builder.reuse.combination import combine
from mmrs.builder.reuse.parts import SplitName, SplitPart, read_parts
from mmrs.builder.reuse.run import ReuseResult, write_combination
from mmrs.errors import UserError
from mmrs.progress import Progress
from mmrs.shards.manifest import ShardEntry
from mmrs.shards.reader import ShardSet
from mmrs.text import nearest, table


@dataclass(frozen=True, slots=True)
class MergeConfig:
    """What is joined, and where.

    Args:
        locations: folders or URLs of finished data sets.
        out: a folder, or a URL of fsspec.
        sources: of the data sets; None for all.
        splits: of the data sets; None for all.
        first_wins: whether a source is taken from the first data set that has it; otherwise from all of them.
        links: whether files in folders become hard links.
    """

    locations: tuple[Path | str, ...]
    out: Path | str
    sources: tuple[str, ...] | None = None
    splits: tuple[str, ...] | None = None
    first_wins: bool = False
    links: bool = True


def merge_data_sets(config: MergeConfig, progress: Progress, workers: int) -> ReuseResult:
    """Make one data set of the shards of several. The same data sets give the same bytes, in whatever order.

    Raises:
        UserError: no such data set, source or split, the data sets contradict each other, or as `write_combination`.
        RunFailure: a data set is damaged, or as `write_combination`.
    """
    sets = [ShardSet(location) for location in config.locations]
    _check_asked(sets, config)
    parts: list[SplitPart] = []
    seen: set[str] = set()
    for shards in sets:
        refused = set(seen) if config.first_wins else set()

        def chosen(name: SplitName, entries: Sequence[ShardEntry], refused: set[str] = refused) -> range | None:
            source, split = name
            is_asked = (config.sources is None or source in config.sources) and (
                config.splits is None or split in config.splits
            )
            return range(len(entries)) if is_asked and source not in refused else None

        found = read_parts(shards, chosen)
        seen |= {part.source for part in found}
        parts += found
    result = write_combination(combine(parts), config.out, progress, workers, config.links)
    for shards in sets:
        shards.close()
    return result


def _check_asked(sets: Sequence[ShardSet], config: MergeConfig) -> None:
    sources = {name for shards in sets for name in shards.manifest.sources}
    splits = {split for shards in sets for source in shards.manifest.sources.values() for split in source.splits}
    for option, asked, known in (("--source", config.sources, sources), ("--split", config.splits, splits)):
        for name in asked or ():
            if name not in known:
                raise UserError(
                    f"{option} {name}: none of the data sets has it{nearest(name, known)}; "
                    f"they have {', '.join(sorted(known))}."
                )


def describe_reuse(result: ReuseResult) -> str:
    """What a new data set holds, how its shards came there, and where it is."""
    rows = [
        (name, split, counts.records, sum(shard.source == name and shard.split == split for shard in shards))
        for shards in (result.manifest.shards,)
        for name, source in sorted(result.manifest.sources.items())
        for split, counts in sorted(source.splits.items())
    ]
    ways = ", ".join(f"{count} {way}" for way, count in result.shards.items() if count)
    return "\n".join(
        [
            table(("source", "split", "images", "shards"), rows),
            f"{len(result.manifest.shards)} shards ({ways}) of {len(result.manifest.parents)} builds",
            f"data set {result.manifest.id[:16]} in {result.out}; check it with `mmrs verify {result.out}`",
        ]
    )
