"""The configurations of a published data set: one for all, one per source, one per task.

Each names its files by pattern, with the count of shards in it, so that shards which an older push left behind match no
pattern. Format: ``configs`` and ``dataset_info`` of a Hugging Face dataset card.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmrs.errors import UserError
from mmrs.hub.features import shard_features
from mmrs.shards.manifest import Manifest, ShardEntry, SourceEntry
from mmrs.shards.tar import image_member

ALL = "all"
_NUMBER = "[0-9]" * 5


@dataclass(frozen=True, slots=True)
class SplitFiles:
    """One split of a configuration: its files as patterns, their samples and bytes."""

    name: str
    patterns: tuple[str, ...]
    samples: int
    bytes: int


@dataclass(frozen=True, slots=True)
class CardConfig:
    """What ``load_dataset(repo, name)`` gives. `suffixes` are the image columns."""

    name: str
    sources: tuple[str, ...]
    suffixes: tuple[str, ...]
    splits: tuple[SplitFiles, ...]


def card_configs(manifest: Manifest) -> list[CardConfig]:
    """All configurations: ``all``, then the sources by name, then the tasks by name.

    A task has every split of every source in which at least one image has a dialogue of that task.

    Raises:
        UserError: a source is named like a task or like ``all``, or two splits have one name for ``datasets``.
    """
    by_split: dict[tuple[str, str], list[ShardEntry]] = defaultdict(list)
    for shard in manifest.shards:
        by_split[shard.source, shard.split].append(shard)
    by_task: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for source, split in by_split:
        for task, count in manifest.sources[source].splits[split].dialogues.items():
            if count:
                by_task[task].append((source, split))
    for name in sorted(set(manifest.sources) & {ALL, *by_task}):
        raise UserError(f"source {name!r} has the name of another configuration; rename it before the push.")
    parts = {ALL: list(by_split)}
    parts |= {name: [key for key in by_split if key[0] == name] for name in sorted(manifest.sources)}
    parts |= {task: by_task[task] for task in sorted(by_task)}
    return [_config(name, keys, by_split, manifest) for name, keys in parts.items() if keys]


def config_yaml(config: CardConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """The entries of ``configs`` and of ``dataset_info``, as plain values."""
    files = [{"split": split.name, "path": list(split.patterns)} for split in config.splits]
    entry: dict[str, Any] = {"config_name": config.name, "data_files": files}
    if config.name == ALL:
        entry["default"] = True
    splits = [{"name": split.name, "num_bytes": split.bytes, "num_examples": split.samples} for split in config.splits]
    total = sum(split.bytes for split in config.splits)
    info = {"config_name": config.name, "features": shard_features(config.suffixes), "splits": splits}
    return entry, info | {"download_size": total, "dataset_size": total}


def hub_split_name(split: str) -> str:
    """The split's name for ``datasets``, which allows letters, digits and underscores only."""
    return re.sub(r"\W", "_", split)


def _config(
    name: str,
    keys: Sequence[tuple[str, str]],
    by_split: dict[tuple[str, str], list[ShardEntry]],
    manifest: Manifest,
) -> CardConfig:
    grouped: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for source, split in keys:
        grouped[split].append((source, split))
    names = {hub_split_name(split) for split in grouped}
    if len(names) < len(grouped):
        raise UserError(f"configuration {name!r}: the splits {sorted(grouped)} are not distinct as {sorted(names)}.")
    splits = []
    for split, members in grouped.items():
        shards = [shard for key in members for shard in by_split[key]]
        patterns = tuple(_pattern(by_split[key][0]) for key in sorted(members))
        total = sum(shard.bytes for shard in shards)
        splits.append(SplitFiles(hub_split_name(split), patterns, sum(shard.records for shard in shards), total))
    suffixes = {suffix for key in keys for suffix in _suffixes(manifest.sources[key[0]], key[1])}
    sources = tuple(sorted({source for source, _ in keys}))
    ordered = sorted(suffixes, key=lambda suffix: ("." in suffix, suffix))
    return CardConfig(name, sources, tuple(ordered), tuple(splits))


def _suffixes(source: SourceEntry, split: str) -> list[str]:
    """``jpg``, and ``1.jpg`` and so on as far as a record of the split has so many images."""
    most = max(map(int, source.splits[split].several_images), default=1)
    return [image_member("", number, source.image_suffix[split])[1:] for number in range(most)]


def _pattern(shard: ShardEntry) -> str:
    """``hit-uav/train-00000-of-00002.tar`` -> the same with any number in place of the first."""
    count = shard.path.removesuffix(".tar").rpartition("-of-")[2]
    return f"{shard.source}/{shard.split}-{_NUMBER}-of-{count}.tar"
