"""Audit: counts of an ingested release against those known of the official archive, and its known defects."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from mmrs.release.names import normal_path, place_of_file, place_of_image
from mmrs.release.store import Release, StoredFile, load_release, release_files, stored_rows
from mmrs.text import table

_SHOWN = 5
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
    tally = _Tally()
    for file in release.files:
        tally.start_file(file)
        for line in stored_rows(ingested, file):
            if line["raw"] is not None:
                tally.add(file, line)
    tally.finish(release, _image_paths(ingested))
    checks = tuple(Check(name, expected, tally.counts[name], evidence) for name, (expected, evidence) in KNOWN.items())
    findings = [
        AuditDifference(what, count, tuple(tally.examples.get(what, ()))) for what, count in tally.found.items()
    ]
    sources = {
        name: {"rows": tally.rows[name], "pairs": tally.pairs[name], "images": len(tally.images[name])}
        for name in sorted(tally.images)
    }
    return AuditReport(checks, tuple(findings), sources)


def _image_paths(ingested: Path) -> set[str]:
    return set(release_files(ingested).column("path").to_pylist())


class _Tally:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.found: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}
        self.rows: Counter[str] = Counter()
        self.pairs: Counter[str] = Counter()
        self.images: dict[str, set[str]] = {}
        self._questions: set[bytes] = set()
        self._rsvg_images: set[str] = set()
        self._misspelt: set[str] = set()

    def start_file(self, file: StoredFile) -> None:
        """Count a file of rows under its family."""
        if file.family:
            self.counts[f"{file.family} files"] += 1
        if file.problem is not None:
            self._note("JSON files that are no array", f"{file.path}: {file.problem}")
        self._spelling(place_of_file(file.path).misspelt)

    def add(self, file: StoredFile, line: dict[str, Any]) -> None:
        """Count one row."""
        image = normal_path(line["image"] or "")
        family = file.family or "unknown"
        if line["problem"] is not None:
            self._note("rows with a problem", f"{file.path}: {image or '?'}: {line['problem']}")
        if line["image"] is not None and line["source"] is None:
            self._note("rows in a folder of no known source", f"{file.path}: {image}")
        pairs = line["pairs"] or []
        self.counts.update({f"{family} rows": 1, f"{family} pairs": len(pairs)})
        source = line["source"] or "unknown"
        self.rows[source] += 1
        self.pairs[source] += len(pairs)
        self.images.setdefault(source, set()).add(image)
        self._spelling(place_of_image(image).misspelt)
        if line["tile"] is not None:
            self._note("rows whose image is a tile", image)
        if line["width"] is not None and line["width"] != line["height"] and any(pair["groups"] for pair in pairs):
            self._note("rows with boxes in a padded square that is not the image", image)
        if family == "rsvg":
            self._rsvg_images.add(image)
        if family == "caption":
            self._repeats("repeated references in a caption row", image, [pair["answer"] for pair in pairs])
        for pair in pairs:
            self._add_pair(family, image, pair)

    def finish(self, release: Release, paths: set[str]) -> None:
        """Counters that need the whole release."""
        self.counts["rsvg images"] = len(self._rsvg_images)
        usable = self.counts["caption rows"] + self.counts["vqa pairs"] - self.counts["repeated vqa pairs"]
        usable += self.counts["visual-grounding pairs"] - self.counts["visual-grounding boxes without area"]
        self.counts["usable caption, vqa and region records"] = usable
        for name in sorted(self._misspelt):
            self._note("misspelt names", name)
        for file in release.ignored:
            self._note("aggregate files left out", f"{file.path}: {file.reason}")
        if release.images:
            for image in sorted(set().union(*self.images.values()) - paths if self.images else ()):
                self._note("images named by a row but not in the archive", image)

    def _add_pair(self, family: str, image: str, pair: dict[str, Any]) -> None:
        task = pair["task"]
        if family == "rsvg":
            self.counts[f"{task} pairs"] += 1
        if family == "vqa":
            content = "\0".join((image, pair["prompt"], pair["answer"])).encode()
            # A digest of 16 bytes per pair keeps the set small for all of the archive.
            digest = hashlib.blake2b(content, digest_size=16).digest()
            if digest in self._questions:
                self.counts["repeated vqa pairs"] += 1
                self._note("repeated vqa pairs", f"{image}: {pair['prompt']} {pair['answer']}")
            self._questions.add(digest)
        for group in pair["groups"] or ():
            if group["degenerate"]:
                if family == "rsvg":
                    self.counts[f"{task} boxes without area"] += group["degenerate"]
                self._note("boxes without area", f"{image}: {group['name']}", group["degenerate"])
            if group["unreadable"]:
                self._note("pieces of an answer that are no box", f"{image}: {group['name']}", group["unreadable"])
            if group["count"] is not None and group["count"] != len(group["numbers"]):
                text = f"{image}: says {group['count']} {group['name']}, has {len(group['numbers'])} boxes"
                self._note("counts that are not the number of boxes", text)

    def _repeats(self, what: str, image: str, texts: Iterable[str]) -> None:
        for text, times in Counter(texts).items():
            if times > 1:
                self.counts[what] += times - 1
                self._note(what, f"{image}: {text}", times - 1)

    def _spelling(self, name: str | None) -> None:
        if name is not None:
            self._misspelt.add(name)

    def _note(self, what: str, example: str, count: int = 1) -> None:
        self.found[what] += count
        shown = self.examples.setdefault(what, [])
        if len(shown) < _SHOWN:
            shown.append(example)
