"""What a build says to its user: the plan before, the result after. Plain text, one fact a line."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import orjson

from mmrs.builder.ownership import shown_names
from mmrs.builder.plan import PlannedSample
from mmrs.builder.resume import NOT_THERE, ExistingShards
from mmrs.builder.run import BuildPlan, BuildResult
from mmrs.builder.shard import ShardTask
from mmrs.imaging.store import reencode_reason
from mmrs.shards.manifest import SplitCounts
from mmrs.shards.quarantine import QUARANTINE_NAME, QuarantineEntry
from mmrs.text import bytes_text, table

_SHOWN_KINDS = 12
# Quoted names, numbers and file names.
_VARYING = re.compile(r"'[^']*'|\"[^\"]*\"|\S+\.\w{2,5}\b|\d[\d.,]*|\[[^\]]*\]")
_SHOWN_CAUSES = 3


def plan_json(plan: BuildPlan, findings: ExistingShards, left_out: Sequence[tuple[str, str]] = ()) -> str:
    """`plan_facts`, and which shards are there already and why each other one will be written, as indented JSON."""
    shards = {
        "kept": sorted(findings.results),
        "to_write": [{"path": task.path, "why": why.what, "at": list(why.at)} for task, why in findings.missing],
        "files_to_remove": list(findings.stale),
    }
    return orjson.dumps(plan_facts(plan, left_out) | {"shards": shards}, option=orjson.OPT_INDENT_2).decode()


def plan_facts(plan: BuildPlan, left_out: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """The plan as plain values, for programs.

    Of each split: items found, images to store (a scene of an item can give many), shards, planned bytes, images that
    will be re-encoded by reason, images left out by `exclude`, and what the survey could not use. Images whose
    pixels are damaged are found only when shards are written. `unread` has what of each source nothing reads.
    """
    splits = []
    for survey in plan.surveys:
        name, split = survey.build.source.name, survey.split
        tasks = [task for task in plan.tasks if (task.source.name, task.split) == (name, split)]
        entries = sorted(survey.quarantine, key=lambda entry: entry.sort_key)
        stored = [(sample, task.suffix) for task in tasks for sample in _stored(task)]
        splits.append(
            {
                "source": name,
                "split": split,
                "trained_on": split in survey.build.train_splits,
                "items": len({sample.item.stem for sample in survey.samples}),
                "images": len(stored),
                "excluded": sum(len(task.excluded) for task in tasks),
                "shards": len(tasks),
                "planned_bytes": sum(sample.planned_bytes for sample, _ in stored),
                "reencoded": _reencoded(stored),
                "quarantined_images": sum(entry.images for entry in entries),
                "quarantine": [entry.model_dump(mode="json") for entry in entries],
            }
        )
    return {
        "format": "mmrs-plan-1",
        "splits": splits,
        "left_out": [{"source": name, "reason": reason} for name, reason in left_out],
        "listed_to_exclude": plan.listed,
        "notes": list(plan.notes),
        "unread": {name: asdict(unread) for name, unread in plan.unread.items()},
    }


def _stored(task: ShardTask) -> list[PlannedSample]:
    left_out = {stem for stem, _ in task.excluded}
    return [sample for sample in task.samples if sample.stem not in left_out]


def _reencoded(samples: Sequence[tuple[PlannedSample, Literal["jpg", "png"]]]) -> dict[str, int]:
    """Number of images by the reason why their bytes cannot be stored as they are, the most frequent first."""
    reasons = Counter(
        "tile of a scene" if sample.window else reencode_reason(probe, suffix)
        for sample, suffix in samples
        for probe in sample.probes
    )
    return {reason: count for reason, count in reasons.most_common() if reason is not None}


def describe_plan(plan: BuildPlan, left_out: Sequence[tuple[str, str]] = ()) -> str:
    """The plan by split: items, images, shards, planned bytes; then why images are re-encoded, and what is unusable."""
    facts = plan_facts(plan, left_out)
    rows, lines = [], []
    for part in facts["splits"]:
        name = f"{part['source']}/{part['split']}"
        reencoded = sum(part["reencoded"].values())
        numbers = (part["items"], part["images"], part["shards"], bytes_text(part["planned_bytes"]), reencoded)
        rows.append((part["source"], part["split"], *numbers, part["quarantined_images"]))
        lines += [f"{name}: {count} re-encoded: {reason}" for reason, count in part["reencoded"].items()]
        if part["excluded"]:
            lines.append(f"{name}: {part['excluded']} images left out by `exclude`")
    header = ("source", "split", "items", "images", "shards", "planned", "re-encoded", "unusable")
    entries = [entry for survey in plan.surveys for entry in survey.quarantine]
    lines += _absent_lines(entries)
    unusable = [entry for entry in entries if entry.level != "absent"]
    if unusable:
        lines.append(f"unusable: {len(unusable)} entries for {QUARANTINE_NAME}; by kind, with the first of each:")
        lines += _kinds(unusable)
    listed, used = plan.listed, len(plan.excluded)
    if used < listed:
        lines.append(f"note: {listed - used} of {listed} ids of `exclude` are no image of this plan")
    lines += [f"left out: {name} {reason}" for name, reason in left_out]
    lines += [f"note: {note}" for note in plan.notes]
    lines += [f"{name}: {line}" for name, unread in plan.unread.items() for line in unread.lines()]
    return "\n".join([table(header, rows), *lines])


def _absent_lines(entries: Sequence[QuarantineEntry]) -> list[str]:
    absent = [entry for entry in entries if entry.level == "absent"]
    return [f"absent: {len(absent)} things; by kind, with the first of each:", *_kinds(absent)] if absent else []


def _kinds(entries: Sequence[QuarantineEntry]) -> list[str]:
    """A line for each kind of reason, the most frequent first; kinds do not differ in names and numbers alone."""
    kinds: dict[tuple[str, str, str], list[QuarantineEntry]] = defaultdict(list)
    for entry in entries:
        # What comes before the first colon names the image, in reasons that a whole file shares.
        reason = entry.reason.partition(": ")[2] if entry.level not in ("item", "set", "absent") else entry.reason
        kinds[entry.source, entry.split, _VARYING.sub("#", reason)].append(entry)
    ordered = sorted(kinds.values(), key=lambda same: -len(same))
    lines = [
        f"  {same[0].source}/{same[0].split}: {len(same)} x {_entry_text(same[0].model_dump())}"
        for same in ordered[:_SHOWN_KINDS]
    ]
    return lines + ([f"  and {len(ordered) - _SHOWN_KINDS} more kinds"] if len(ordered) > _SHOWN_KINDS else [])


def _entry_text(entry: Mapping[str, Any]) -> str:
    line = f":{entry['line']}" if entry["line"] else ""
    return f"{entry['path']}{line}: {entry['reason']}"


def describe_findings(findings: ExistingShards) -> str:
    """What is there of an earlier run and why every other shard is written, by split and reason."""
    lines = [_describe_shards(findings)]
    if findings.others:
        lines.append(f"note: left alone, as no build made it: {shown_names(findings.others)}")
    return "\n".join(lines)


def _describe_shards(findings: ExistingShards) -> str:
    kept, missing = len(findings.results), len(findings.missing)
    if kept + missing == 0 or (not findings.stale and all(reason.what == NOT_THERE for _, reason in findings.missing)):
        return f"{missing} of {kept + missing} shards to write"
    totals: Counter[tuple[str, str]] = Counter()
    for path in [*findings.results, *(task.path for task, _ in findings.missing)]:
        totals[_split_of(path)] += 1
    counts: Counter[tuple[str, str, str]] = Counter()
    seen: dict[tuple[str, str, str], dict[str, None]] = defaultdict(dict)
    for task, reason in findings.missing:
        counts[*_split_of(task.path), reason.what] += 1
        seen[*_split_of(task.path), reason.what].update(dict.fromkeys(reason.at))
    lines = [f"{missing} of {kept + missing} shards to write"]
    for (source, split, what), count in counts.items():
        at = list(seen[source, split, what])
        more = f" and {len(at) - _SHOWN_CAUSES} more" if len(at) > _SHOWN_CAUSES else ""
        shown = f": {', '.join(at[:_SHOWN_CAUSES])}{more}" if at else ""
        lines.append(f"  {source}/{split}: {count} of {totals[source, split]} shards: {what}{shown}")
    if findings.stale:
        lines.append(f"  {len(findings.stale)} files of shards that are no longer in the plan will be removed")
    return "\n".join(lines)


def _split_of(shard_path: str) -> tuple[str, str]:
    source, _, name = shard_path.partition("/")
    return source, name.rpartition("-of-")[0].rpartition("-")[0]


def describe_result(result: BuildResult, out: Path | str) -> str:
    """Counts by split, quarantine, and where everything is."""
    rows, unlisted = [], []
    for name, source in result.manifest.sources.items():
        for split, counts in source.splits.items():
            dialogues = ", ".join(f"{task} {count}" for task, count in counts.dialogues.items()) or "none"
            boxes = f"{counts.objects} (and {counts.ignored_objects} ignored)"
            rows.append((name, split, counts.records, boxes, counts.captions, dialogues))
            unlisted += _unlisted(name, split, counts)
    lines = [table(("source", "split", "images", "objects", "captions", "dialogues"), rows)]
    lines += unlisted
    excluded = sum(entry.level == "excluded" for entry in result.quarantine)
    if excluded:
        lines.append(f"left out by `exclude`: {excluded} images, each with its reason in {out}/{QUARANTINE_NAME}")
    lines += _absent_lines(result.quarantine)
    found = [entry for entry in result.quarantine if entry.level not in ("excluded", "absent")]
    if found:
        lines.append(f"quarantined: {len(found)} entries in {out}/{QUARANTINE_NAME}; by kind, with the first of each:")
        lines += _kinds(found)
    shards = len(result.manifest.shards)
    lines.append(f"{shards} shards ({result.rebuilt} written now, {shards - result.rebuilt} already there)")
    lines.append(f"data set {result.manifest.id[:16]} in {out}; check it with `mmrs verify {out}`")
    return "\n".join(lines)


def _unlisted(source: str, split: str, counts: SplitCounts) -> list[str]:
    if not counts.objects_in_no_dialogue:
        return []
    return [
        f"note: {source}/{split}: {counts.objects_in_no_dialogue} of {counts.objects} objects, in "
        f"{counts.images_with_objects_in_no_dialogue} of {counts.records} images, are in no dialogue"
    ]
