"""What curation found, as lines for a file, a summary, and words.

`curation.jsonl` has one JSON object a line, told apart by ``kind``: ``removal`` (a training image that must go, with
the chain of reasons), ``finding`` (text or boxes to look at) and ``group`` (images that show one picture).
`curation.json` has the counts, the policy, and the id of the data set that they are of; it is written last.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from mmrs.curation.groups import Groups
from mmrs.curation.guard import Policy, Removal
from mmrs.curation.links import Kind
from mmrs.curation.rows import Rows
from mmrs.curation.text_checks import Finding
from mmrs.errors import UserError
from mmrs.shards.manifest import load_manifest
from mmrs.text import table

CURATION_NAME = "curation.jsonl"
SUMMARY_NAME = "curation.json"
_SHOWN = 5


@dataclass(frozen=True)
class CurationReport:
    """The outcome for the data set with the id `data_set`. `shared` counts groups that two evaluated splits share."""

    data_set: str
    rows: Rows
    groups: Groups
    policy: Policy
    removals: tuple[Removal, ...]
    findings: tuple[Finding, ...]
    shared: dict[str, int]

    def chain(self, removal: Removal) -> list[dict[str, str]]:
        """The links from a removed image to the evaluation image that it leaks."""
        return [{"reason": self.groups.links.reasons[link], "image": self.rows.ids[row]} for row, link in removal.chain]

    def summary(self) -> dict[str, Any]:
        """Counts, as plain values."""
        sizes = np.bincount(self.groups.labels, minlength=1)
        splits = Counter(f"{self.rows.source(item.row)}/{self.rows.split(item.row)}" for item in self.removals)
        findings: dict[str, Counter[str]] = defaultdict(Counter)
        for finding in self.findings:
            findings[finding.level][finding.check] += 1
        return {
            "format": "mmrs-curation-1",
            "data_set": self.data_set,
            "policy": {name: sorted(value) for name, value in asdict(self.policy).items()},
            "images": len(self.rows),
            "flat_images": int(self.rows.flat.sum()),
            "groups": int((sizes > 1).sum()),
            "images_in_groups": int(sizes[sizes > 1].sum()),
            "links": self.groups.links.counts(),
            "removals": dict(sorted(splits.items())),
            "groups_shared_by_evaluated_splits": self.shared,
            "findings": {level: dict(sorted(counts.items())) for level, counts in sorted(findings.items())},
        }

    def lines(self) -> Iterator[bytes]:
        """The lines of `curation.jsonl`: removals, findings, groups."""
        rows = self.rows
        for removal in self.removals:
            values: dict[str, Any] = {"kind": "removal", "id": rows.ids[removal.row], "group": rows.ids[removal.group]}
            yield _line(values | {"evaluated": rows.ids[removal.evaluation_row], "chain": self.chain(removal)})
        for finding in self.findings:
            yield _line({"kind": "finding"} | asdict(finding))
        for group, members, links in self._groups():
            images = [rows.ids[row] for row in members]
            yield _line({"kind": "group", "group": rows.ids[group], "images": images, "links": links})

    def _groups(self) -> Iterator[tuple[int, list[int], list[dict[str, str]]]]:
        # Tiles of a scene alone are no news and would be most of the file.
        labels, links, ids = self.groups.labels, self.groups.links, self.rows.ids
        links_of: dict[int, list[dict[str, str]]] = defaultdict(list)
        for link in np.flatnonzero(links.kinds != Kind.SCENE).tolist():
            first, second = int(links.first[link]), int(links.second[link])
            values = {"image": ids[second], "reason": links.reasons[link], "of": ids[first]}
            links_of[int(labels[first])].append(values)
        listed = np.isin(labels, np.array(sorted(links_of), np.int64))
        members: dict[int, list[int]] = defaultdict(list)
        for row in np.flatnonzero(listed).tolist():
            members[int(labels[row])].append(row)
        for group in sorted(members):
            yield group, members[group], links_of[group]


def removed_ids(folder: Path) -> dict[str, str]:
    """The images of a curated data set that must not be trained on: id -> id of the evaluated image that it leaks.

    Raises:
        UserError: the data set was not curated since it was built.
    """
    path = folder / SUMMARY_NAME
    try:
        stated = orjson.loads(path.read_bytes())["data_set"]
        lines = (folder / CURATION_NAME).read_bytes().splitlines()
    except (OSError, KeyError, TypeError, orjson.JSONDecodeError) as error:
        raise UserError(f"{path} cannot be used: {error}. Run `mmrs curate {folder}`.") from error
    if stated != (actual := load_manifest(folder).id):
        raise UserError(
            f"{path} is of data set {str(stated)[:12]}, the folder holds {actual[:12]}. Run `mmrs curate {folder}`."
        )
    values = (orjson.loads(line) for line in lines)
    return {value["id"]: value["evaluated"] for value in values if value["kind"] == "removal"}


def describe(report: CurationReport) -> str:
    """The outcome in words; the first removals and errors in full."""
    summary = report.summary()
    links = ", ".join(f"{name} {count}" for name, count in summary["links"].items() if count) or "none"
    lines = [f"{summary['images']} images, {summary['images_in_groups']} of them in {summary['groups']} groups"]
    lines.append(f"links: {links}")
    if report.removals:
        lines.append(table(("source/split", "to be removed from training"), list(summary["removals"].items())))
        for removal in report.removals[:_SHOWN]:
            lines.append("  " + _sentence(report, removal))
    else:
        lines.append("no group straddles training and evaluation")
    for pair, count in report.shared.items():
        lines.append(f"note: {pair} share {count} groups; both are evaluated, nothing is removed")
    for level, counts in summary["findings"].items():
        lines.append(f"{level}s: " + ", ".join(f"{check} {count}" for check, count in counts.items()))
    for finding in [finding for finding in report.findings if finding.level == "error"][:_SHOWN]:
        lines.append(f"  {finding.id} {finding.place}: {finding.what}")
    lines.append(f"all of it in {CURATION_NAME}, counts in {SUMMARY_NAME}")
    return "\n".join(lines)


def _sentence(report: CurationReport, removal: Removal) -> str:
    steps = ", which is ".join(f"{step['reason']} {step['image']}" for step in report.chain(removal))
    return f"{report.rows.ids[removal.row]} is {steps}"


def _line(values: dict[str, Any]) -> bytes:
    return orjson.dumps(values, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
