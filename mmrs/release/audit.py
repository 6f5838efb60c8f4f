"""Audit: counts of an ingested release against those known of the official archive, and its known defects."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from mmrs.release.findings import CHECKS, AuditedRow, Note, RepeatedQuestions, RepeatedReferences
from mmrs.release.store import load_release, release_files, stored_rows
from mmrs.text import shorten, table

_SHOWN = 5
_EXAMPLE_LETTERS = 400
_COUNTED = "counted in the archive by a strict parser"
_SURVEY = "total of the task in a survey that cites the paper; not counted in the archive"
_TREE = "listing of the archive's json folder"

# Counter -> (known value, where it comes from).
KNOWN: dict[str, tuple[int, str]] = {
    "caption files": (5, _COUNTED),
    "caption rows": (46_275, _COUNTED),
    "caption pairs": (198_883, f"{_COUNTED}; the survey's total is the same"),
    "vqa rows": (28_318, _COUNTED),
    "vqa pairs": (141_163, f"{_COUNTED}; the survey has 141,264, 101 more"),
    "rsvg files": (1, _COUNTED),
    "rsvg rows": (31_418, f"{_COUNTED}; two rows per image, one per direction"),
    "rsvg pairs": (61_640, _COUNTED),
    "rsvg images": (15_709, _COUNTED),
    "region-captioning pairs": (30_820, f"{_COUNTED}; DIOR-RSVG train + val, 26,991 + 3,829"),
    "visual-grounding pairs": (30_820, f"{_COUNTED}; DIOR-RSVG train + val, 26,991 + 3,829"),
    "classification files": (7, _TREE),
    "classification pairs": (28_705, _SURVEY),
    "detection pairs": (575_350, _SURVEY),
    "region-captioning boxes without area": (11, f"{_COUNTED}; two decimals make thin boxes collapse"),
    "visual-grounding boxes without area": (11, f"{_COUNTED}; the same boxes in the other direction"),
    "repeated vqa pairs": (9, f"{_COUNTED}; the 9 repeated lines of RSIVQA's HRRSD file"),
    "repeated references in a caption row": (3, _COUNTED),
    "usable caption, vqa and region records": (
        218_238,
        "46,275 rows + 141,154 pairs + 30,809 boxes, defects taken off",
    ),
}


@dataclass(frozen=True, slots=True)
class Check:
    """One counter: the known value, the one found, and where the known one comes from."""

    counter: str
    expected: int
    found: int
    evidence: str

    @property
    def agrees(self) -> bool:
        return self.expected == self.found


@dataclass(frozen=True, slots=True)
class AuditDifference:
    """Something to know of the release: how often, and the first few examples."""

    what: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The outcome of an audit. `sources` is rows, pairs and images by source, ``unknown`` for unknown folders."""

    checks: tuple[Check, ...]
    findings: tuple[AuditDifference, ...]
    sources: dict[str, dict[str, int]]

    @property
    def agrees(self) -> bool:
        """Whether every counter is the known one."""
        return all(check.agrees for check in self.checks)

    def render(self, as_json: bool) -> str:
        """Text for a person, or JSON with everything."""
        if as_json:
            content = {"agrees": self.agrees, **asdict(self)}
            return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode()
        rows = [
            (check.counter, check.expected, check.found, "yes" if check.agrees else "NO", check.evidence)
            for check in self.checks
        ]
        lines = [table(("counter", "expected", "found", "agrees", "evidence"), rows), ""]
        per_source = [
            (name, counts["rows"], counts["pairs"], counts["images"]) for name, counts in self.sources.items()
        ]
        lines += [table(("source", "rows", "pairs", "images"), per_source), ""]
        for finding in self.findings:
            lines.append(f"{finding.what}: {finding.count:,}")
            lines += [f"  {example}" for example in finding.examples]
        agreeing = sum(check.agrees for check in self.checks)
        lines.append(f"{agreeing} of {len(self.checks)} counters are those known of the official archive")
        return "\n".join(lines)


def audit(ingested: Path) -> AuditReport:
    """Count an ingested release and compare with `KNOWN`. Reads every row once.

    Raises:
        UserError: `ingested` is no finished ingest, or a file of it is missing or damaged.
    """
    release = load_release(ingested)
    looked_for = [check() for check in CHECKS]
    differences = {check.what: _Difference() for check in looked_for}
    counts: Counter[str] = Counter()
    sources: dict[str, _SourceTally] = defaultdict(_SourceTally)
    rsvg_images: set[str] = set()
    for file in release.files:
        counts.update([f"{file.family} files"] if file.family else [])
        for check in looked_for:
            differences[check.what].add(check.of_file(file))
        for line in stored_rows(ingested, file):
            if line["raw"] is None:
                continue
            row = AuditedRow.of(file, line)
            counts.update(_row_counts(row))
            sources[row.source or "unknown"].add(row)
            rsvg_images.update([row.image] if row.family == "rsvg" else [])
            for check in looked_for:
                differences[check.what].add(check.of_row(row))
    image_paths = set(release_files(ingested).column("path").to_pylist())
    for check in looked_for:
        differences[check.what].add(check.of_release(release, image_paths))
    counts["rsvg images"] = len(rsvg_images)
    for counter in (RepeatedQuestions.what, RepeatedReferences.what):
        counts[counter] = differences[counter].count
    counts["usable caption, vqa and region records"] = _usable(counts)
    return AuditReport(
        checks=tuple(Check(name, expected, counts[name], evidence) for name, (expected, evidence) in KNOWN.items()),
        findings=tuple(
            AuditDifference(what, found.count, tuple(found.examples))
            for what, found in differences.items()
            if found.count
        ),
        sources={name: sources[name].as_counts() for name in sorted(sources)},
    )


@dataclass(slots=True)
class _Difference:
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, notes: Iterable[Note]) -> None:
        for example, count in notes:
            self.count += count
            if len(self.examples) < _SHOWN:
                self.examples.append(shorten(example, _EXAMPLE_LETTERS))


@dataclass(slots=True)
class _SourceTally:
    rows: int = 0
    pairs: int = 0
    images: set[str] = field(default_factory=set)

    def add(self, row: AuditedRow) -> None:
        self.rows += 1
        self.pairs += len(row.pairs)
        self.images.add(row.image)

    def as_counts(self) -> dict[str, int]:
        return {"rows": self.rows, "pairs": self.pairs, "images": len(self.images)}


def _row_counts(row: AuditedRow) -> Counter[str]:
    """A row's part of the counters: by family, and those of DIOR-RSVG by task."""
    counts = Counter({f"{row.family} rows": 1, f"{row.family} pairs": len(row.pairs)})
    if row.family == "rsvg":
        counts.update(f"{pair['task']} pairs" for pair in row.pairs)
        for task, group in row.boxes():
            counts[f"{task} boxes without area"] += group["degenerate"] or 0
    return counts


def _usable(counts: Mapping[str, int]) -> int:
    questions = counts["vqa pairs"] - counts["repeated vqa pairs"]
    boxes = counts["visual-grounding pairs"] - counts["visual-grounding boxes without area"]
    return counts["caption rows"] + questions + boxes
