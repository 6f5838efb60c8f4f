"""What a plan holds, in figures a person can check before hours are spent on it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from training.data.planning.plan import Lengths, Plan, PlanSettings
from training.data.planning.selection import Selection

NAMED_EXCLUDED = 5


def summarise(plan: Plan, lengths: Lengths, settings: PlanSettings, selection: Selection) -> dict[str, Any]:
    """Counts of one epoch: images and dialogues per source and task, tokens, padding, bytes, what was left out.

    `samples` counts different samples; `shown` and `samples_per_source` count one again each time the mixture repeats
    it; `images` counts those of units: an image that is split over two packs counts, and costs, twice. `bytes_read` are
    those of all images and records that the epoch reads, once for each unit.
    """
    rows = np.unique(plan.unit_row)
    shown = np.unique(plan.unit_row.astype(np.int64) + plan.unit_copy.astype(np.int64) * len(selection))
    tokens = int(plan.pack_tokens.sum())
    capacity = len(plan) * settings.tokens_per_pack
    sources = np.bincount(selection.source[shown % len(selection)], minlength=len(selection.sources))
    entries = plan.entries
    tasks = np.bincount(selection.dialogue_task[entries], minlength=len(selection.tasks))
    image_bytes = selection.image_size + selection.further_bytes
    sizes = image_bytes + selection.record_size
    return {
        "epoch": plan.epoch,
        "packs": len(plan),
        "parts": list(selection.parts),
        "samples": len(rows),
        "shown": len(shown),
        "images": int(selection.images[plan.unit_row].sum()),
        "dialogues": len(entries),
        "samples_per_source": dict(zip(selection.sources, sources.tolist(), strict=True)),
        "dialogues_per_task": dict(zip(selection.tasks, tasks.tolist(), strict=True)),
        "input_tokens": tokens,
        "target_tokens": int(lengths.targets[entries].sum()),
        "padding_share": round(1 - tokens / capacity, 4) if capacity else 0.0,
        "image_bytes": int(image_bytes[rows].sum()),
        "bytes_read": int(sizes[plan.unit_row].sum()),
        "downloads": downloads(plan, selection),
        "excluded": excluded_dialogues(plan, lengths, settings, selection),
    }


def splits_of(parts: Sequence[str]) -> str:
    """The splits of ``<source>/<split>`` for a person, each with its sources where not all have it."""
    sources: dict[str, list[str]] = {}
    for part in parts:
        source, _, split = part.rpartition("/")
        sources.setdefault(split, []).append(source)
    every = len({part.rpartition("/")[0] for part in parts})
    return ", ".join(
        split if len(having) == every else f"{split} ({', '.join(having)})" for split, having in sorted(sources.items())
    )


def downloads(plan: Plan, selection: Selection) -> dict[str, int] | None:
    """What an epoch fetches of shards that lie elsewhere, starting with an empty cache; None where none does.

    `fetched_bytes` is what a cache of `cache_bytes` has to fetch when the shard opened longest ago goes first, `bytes`
    the size of all these shards: where the cache cannot hold a shuffle window, the first is a multiple of the second.
    """
    sets = selection.sets
    runs, first = np.unique(selection.shard_run, return_index=True)
    origin = zip(runs.tolist(), selection.set_number[first].tolist(), selection.shard[first].tolist(), strict=True)
    sizes = {run: size for run, number, shard in origin if (size := sets[number].downloaded_bytes(shard))}
    if not sizes:
        return None
    limit = min(shards.downloads.cache.max_bytes for shards in sets)
    held: OrderedDict[int, int] = OrderedDict()
    seen: set[int] = set()
    used = fetched = 0
    for run in selection.shard_run[plan.unit_row].tolist():
        if run in held:
            held.move_to_end(run)
        elif run in sizes:
            seen.add(run)
            held[run] = sizes[run]
            used, fetched = used + sizes[run], fetched + sizes[run]
            while used > limit and len(held) > 1:
                used -= held.popitem(last=False)[1]
    return {"fetched_bytes": fetched, "bytes": sum(sizes[run] for run in seen), "cache_bytes": limit}


def excluded_dialogues(plan: Plan, lengths: Lengths, settings: PlanSettings, selection: Selection) -> list[dict]:
    """Every dialogue that fits no pack: its sample, its number in the record, its tokens with its images."""
    further_D = lengths.further_of(lengths.row)
    return [
        {
            "sample": selection.sample_id(int(selection.dialogue_row[entry])),
            "dialogue": int(selection.dialogue_number[entry]),
            "tokens": int(lengths.tokens[entry] + further_D[entry]) + settings.prefix_tokens,
        }
        for entry in plan.excluded
    ]


def plan_lines(summary: dict[str, Any], settings: PlanSettings, total_steps: int, packs_per_step: int) -> list[str]:
    """The summary as lines for the terminal. Dialogues left out are counted, and the first ones named."""
    per_source = ", ".join(f"{name} {count:,}" for name, count in summary["samples_per_source"].items())
    per_task = ", ".join(f"{name} {count:,}" for name, count in summary["dialogues_per_task"].items())
    epochs = total_steps * packs_per_step / summary["packs"]
    lines = [
        f"data set {settings.data_set_id[:12]}: {summary['samples']:,} samples, "
        f"{summary['image_bytes'] / 1e6:.1f} MB of images",
        *([f"mixture: {settings.mixture.replace(';', ', ')} passes per epoch"] if settings.mixture else []),
        f"splits: {splits_of(summary['parts'])}",
        f"epoch: {summary['shown']:,} samples ({per_source})",
        f"dialogues: {summary['dialogues']:,} ({per_task})",
        f"packs: {summary['packs']:,} of {settings.tokens_per_pack:,} tokens, {summary['images']:,} images, "
        f"{summary['target_tokens']:,} target tokens, padding {summary['padding_share']:.1%}, "
        f"{summary['bytes_read'] / 1e6:.1f} MB to read",
        f"run: {total_steps:,} steps of {packs_per_step} packs, {epochs:.2f} epochs",
    ]
    found = summary["downloads"]
    if found is not None:
        gigabytes = {name: f"{count / 1e9:.2f} GB" for name, count in found.items()}
        remedy = (
            f"; data.cache_gb={found['bytes'] / 1e9:.1f}, or fewer data.shuffle_window_blocks, saves the repeats"
            if found["fetched_bytes"] > found["bytes"]
            else ""
        )
        lines.append(
            f"downloads: {gigabytes['fetched_bytes']} in the first epoch, for {gigabytes['bytes']} of shards through a "
            f"cache of {gigabytes['cache_bytes']}{remedy}"
        )
    excluded = summary["excluded"]
    if excluded:
        room = min(settings.tokens_per_pack, settings.max_positions)
        named = ", ".join(f"{item['sample']} ({item['tokens']})" for item in excluded[:NAMED_EXCLUDED])
        lines.append(
            f"left out: {len(excluded)} dialogues of more than {room} tokens, image included: {named}"
            f"{', ...' if len(excluded) > NAMED_EXCLUDED else ''}; all are in plan.json"
        )
    return lines
