"""What curation found, as lines for a file, a summary, and words.

`curation.jsonl` has one JSON object a line, told apart by ``kind``: ``removal`` (a training image that must go, with
the chain of reasons, or one that the data set was already built without), ``finding`` (text or boxes to look at) and
``group`` (images that show one picture). As an `exclude` list of a recipe it stays true when it is written again.
`curation.json` has the counts, the policy, and the id of the data set that they are of; it is written last.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from mmrs.curation.groups import Groups
from mmrs.curation.guard import Policy, Removal
from mmrs.curation.image_table import Rows
from mmrs.curation.links import LinkKind
from mmrs.curation.text_checks import TextFault
from mmrs.errors import UserError
from mmrs.shards.quarantine import QUARANTINE_NAME
from mmrs.shards.reader import ShardSet
from mmrs.storage.urls import is_writable
from mmrs.text import table

CURATION_NAME = "curation.jsonl"
SUMMARY_NAME = "curation.json"
_FORMAT = "mmrs-curation-1"
# What is in a file of ours: in the summary, and in the first of the lines.
CURATION_MARKS = {SUMMARY_NAME: _FORMAT.encode(), CURATION_NAME: b'"kind":'}
_SHOWN = 5


@dataclass(frozen=True)
class RowOrigin:
    """Which of the data sets that were curated together each row is of.

    Args:
        owner: ``(N,)``, the number of the row's data set.
        names: of the data sets: their locations.
        this: number of the one that is reported on.
    """

    owner: npt.NDArray[np.int32]
    names: tuple[str, ...]
    this: int = 0

    @property
    def mine(self) -> npt.NDArray[np.bool_]:
        """``(N,)``: rows of the data set that is reported on."""
        return self.owner == self.this

    def elsewhere(self, row: int) -> str:
        """The location of a row's data set where that is another one, else nothing."""
        return "" if self.owner[row] == self.this else self.names[self.owner[row]]


@dataclass(frozen=True)
class CurationReport:
    """The outcome for the data set with the id `data_set`, alone or among others.

    `rows`, `groups` and `shared` are of all data sets that were curated together. `removals`, `removed` and `findings`
    are of this one: `removed` are (id, reason) of images that it was built without. `shared` counts groups that two
    evaluated splits have in common.
    """

    data_set: str
    rows: Rows
    groups: Groups
    policy: Policy
    removals: tuple[Removal, ...]
    removed: tuple[tuple[str, str], ...]
    findings: tuple[TextFault, ...]
    shared: dict[str, int]
    origin: RowOrigin

    def chain(self, removal: Removal) -> list[dict[str, str]]:
        """The links from a removed image to the evaluation image that it leaks; ``in`` is its data set, if another."""
        reasons = self.groups.links.reasons
        return [{"reason": reasons[link]} | self._image("image", row) for row, link in removal.chain]

    def reason(self, removal: Removal) -> str:
        """The chain in words: ``byte for byte the same as hit-uav/test/x``."""
        words = [f"{step['reason']} {step['image']}" for step in self.chain(removal)]
        places = [self.origin.elsewhere(row) for row, _ in removal.chain]
        return ", which is ".join(f"{a} of {b}" if b else a for a, b in zip(words, places, strict=True))

    def _image(self, name: str, row: int) -> dict[str, str]:
        place = self.origin.elsewhere(row)
        return {name: self.rows.ids[row]} | ({f"{name}_in": place} if place else {})

    def summary(self) -> dict[str, Any]:
        """Counts, as plain values."""
        mine, labels, links = self.origin.mine, self.groups.labels, self.groups.links
        in_groups = mine & (np.bincount(labels, minlength=1)[labels] > 1)
        touching = mine[links.first] | mine[links.second]
        splits = Counter(f"{self.rows.source(item.row)}/{self.rows.split(item.row)}" for item in self.removals)
        findings: dict[str, Counter[str]] = defaultdict(Counter)
        for finding in self.findings:
            findings[finding.level][finding.check] += 1
        return {
            "format": _FORMAT,
            "data_set": self.data_set,
            "trained": sorted(self.policy.trained),
            "images": int(mine.sum()),
            "flat_images": int((self.rows.flat & mine).sum()),
            "groups": len(np.unique(labels[in_groups])),
            "images_in_groups": int(in_groups.sum()),
            "links": links.counts(touching),
            "removals": dict(sorted(splits.items())),
            "removed_before": len(self.removed),
            "groups_shared_by_evaluated_splits": self.shared,
            "findings": {level: dict(sorted(counts.items())) for level, counts in sorted(findings.items())},
        } | self._others()

    def _others(self) -> dict[str, list[str]]:
        others = [name for number, name in enumerate(self.origin.names) if number != self.origin.this]
        return {"curated_with": others} if others else {}

    def lines(self) -> Iterator[bytes]:
        """The lines of `curation.jsonl`: removals, findings, groups."""
        rows = self.rows
        for removal in self.removals:
            values: dict[str, Any] = {"kind": "removal", "id": rows.ids[removal.row], "reason": self.reason(removal)}
            values |= {"group": rows.ids[removal.group], "chain": self.chain(removal)}
            yield _line(values | self._image("evaluated", removal.evaluation_row))
        for image, reason in self.removed:
            yield _line({"kind": "removal", "id": image, "reason": reason, "removed": True})
        for finding in self.findings:
            yield _line({"kind": "finding"} | asdict(finding))
        for group, members, links in self._groups():
            here = [rows.ids[row] for row in members if not self.origin.elsewhere(row)]
            there = [self._image("image", row) for row in members if self.origin.elsewhere(row)]
            values = {"kind": "group", "group": rows.ids[group], "images": here, "links": links}
            yield _line(values | ({"elsewhere": there} if there else {}))

    def _groups(self) -> Iterator[tuple[int, list[int], list[dict[str, str]]]]:
        # Tiles of a scene alone are no news and would be most of the file.
        labels, links, mine = self.groups.labels, self.groups.links, self.origin.mine
        links_of: dict[int, list[dict[str, str]]] = defaultdict(list)
        for link in np.flatnonzero(links.kinds != LinkKind.SCENE).tolist():
            first, second = int(links.first[link]), int(links.second[link])
            values = {"reason": links.reasons[link]} | self._image("image", second) | self._image("of", first)
            links_of[int(labels[first])].append(values)
        here = np.intersect1d(labels[mine], np.array(sorted(links_of), np.int64))
        listed = np.isin(labels, here)
        members: dict[int, list[int]] = defaultdict(list)
        for row in np.flatnonzero(listed).tolist():
            members[int(labels[row])].append(row)
        for group in sorted(members):
            yield group, members[group], links_of[group]


def removed_before(shards: ShardSet) -> tuple[tuple[str, str], ...]:
    """(id, reason) of the images that the data set was built without because its recipe excludes them."""
    try:
        values = [orjson.loads(line) for line in shards.quarantine().splitlines()]
        return tuple((value["id"], value["reason"]) for value in values if value["level"] == "excluded")
    except (OSError, KeyError, TypeError, orjson.JSONDecodeError) as error:
        where = f"{shards.location}/{QUARANTINE_NAME}"
        raise UserError(f"{where} cannot be used: {error}. Run `mmrs build` again.") from error


def summary_json(report: CurationReport) -> bytes:
    """The content of `curation.json`."""
    return orjson.dumps(report.summary(), option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def summaries_json(reports: Sequence[CurationReport]) -> bytes:
    """The summaries of data sets that were curated together, as one list."""
    values = [report.summary() for report in reports]
    return orjson.dumps(values, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def describe_curation(report: CurationReport, location: Path | str, out: Path | str) -> str:
    """The outcome in words; the first removals and errors in full, and what to do.

    Args:
        location: of the data set.
        out: where the two files were written.
    """
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
    if report.removed:
        lines.append(f"built without {len(report.removed)} images that its recipe excludes, see {QUARANTINE_NAME}")
    for pair, count in report.shared.items():
        lines.append(f"note: {pair} share {count} groups; both are evaluated, nothing is removed")
    for level, counts in summary["findings"].items():
        lines.append(f"{level}s: " + ", ".join(f"{check} {count}" for check, count in counts.items()))
    for finding in [finding for finding in report.findings if finding.level == "error"][:_SHOWN]:
        lines.append(f"  {finding.id} {finding.place}: {finding.what}")
    listed = f"{out}/{CURATION_NAME}"
    lines.append(f"all of it in {listed}, counts in {SUMMARY_NAME}")
    if report.removals:
        target = location if is_writable(location) else "DIR"
        lines.append(f"build without them: `mmrs build RECIPE --out {target} --set exclude={listed}`")
    return "\n".join(lines)


def _sentence(report: CurationReport, removal: Removal) -> str:
    return f"{report.rows.ids[removal.row]} is {report.reason(removal)}"


def _line(values: dict[str, Any]) -> bytes:
    return orjson.dumps(values, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
