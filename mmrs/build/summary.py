"""What a build says to its user: the plan before, the result after. Plain text, one fact a line."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

from mmrs.build.quarantine import QUARANTINE_NAME
from mmrs.build.resume import NOT_THERE, Findings
from mmrs.build.run import BuildPlan, BuildResult
from mmrs.text import bytes_text, table

_SHOWN_ENTRIES = 5
_SHOWN_CAUSES = 3


def describe_plan(plan: BuildPlan, left_out: tuple[tuple[str, str], ...] = ()) -> str:
    """The plan by split: samples, shards, planned bytes, what will be re-encoded and why."""
    rows = []
    for survey in plan.surveys:
        name = survey.build.source.name
        tasks = [task for task in plan.tasks if (task.source.name, task.split) == (name, survey.split)]
        planned = sum(sample.planned_bytes for task in tasks for sample in task.samples)
        rows.append((name, survey.split, len(survey.samples), len(tasks), bytes_text(planned), _reencoding(survey)))
    lines = [table(("source", "split", "images", "shards", "planned", "re-encoded"), rows)]
    lines += [f"left out: {name} {reason}" for name, reason in left_out]
    lines += [f"note: {note}" for note in plan.notes]
    return "\n".join(lines)


def _reencoding(survey) -> str:
    reasons = Counter(
        "tile of a scene" if sample.window else sample.probe.reencode
        for sample in survey.samples
        if sample.window or sample.probe.reencode
    )
    return "; ".join(f"{count} ({reason})" for reason, count in reasons.most_common(3)) or "none"


def describe_findings(findings: Findings) -> str:
    """What is there of an earlier run and why every other shard is written, by split and reason."""
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
    rows = []
    for name, source in result.manifest.sources.items():
        for split, counts in source.splits.items():
            dialogues = ", ".join(f"{task} {count}" for task, count in counts.dialogues.items()) or "none"
            boxes = f"{counts.objects + counts.ignored_objects} ({counts.ignored_objects} ignored)"
            rows.append((name, split, counts.records, boxes, counts.captions, dialogues))
    lines = [table(("source", "split", "images", "objects", "captions", "dialogues"), rows)]
    if result.dialogues_too_long:
        lines.append(f"note: {result.dialogues_too_long} dialogues with too many objects were not rendered")
    if result.quarantine:
        lines.append(f"quarantined: {len(result.quarantine)} entries, all in {out}/{QUARANTINE_NAME}; the first:")
        for entry in result.quarantine[:_SHOWN_ENTRIES]:
            line = f":{entry.line}" if entry.line else ""
            lines.append(f"  {entry.source}/{entry.split} {entry.path}{line}: {entry.reason}")
    shards = len(result.manifest.shards)
    lines.append(f"{shards} shards ({result.rebuilt} written now, {shards - result.rebuilt} already there)")
    lines.append(f"data set {result.manifest.id[:16]} in {out}; check it with `mmrs verify {out}`")
    return "\n".join(lines)
