"""Curate a finished data set: groups, leakage guard and text checks, written beside its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import orjson
from pydantic import ValidationError

from mmrs.curation.fingerprints import stored_thumbnails
from mmrs.curation.group_checks import check_groups
from mmrs.curation.groups import find_groups
from mmrs.curation.guard import Policy, guard, policy_of, shared_by_benchmarks
from mmrs.curation.image_table import load_rows
from mmrs.curation.known_copies import AliasTable, load_aliases
from mmrs.curation.report import CURATION_NAME, SUMMARY_NAME, CurationReport, removed_before
from mmrs.curation.text_checks import TextFault, check_record
from mmrs.engines.processes import run_tasks
from mmrs.errors import RunFailure
from mmrs.instructions.dialects import Dialect, dialect
from mmrs.progress import Progress
from mmrs.record import Record
from mmrs.shards.reader import ShardSet
from mmrs.storage.atomic import atomic_writer, write_atomic


def curate(
    folder: Path,
    progress: Progress,
    policy: Policy | None = None,
    workers: int = 1,
    aliases: AliasTable | None = None,
) -> CurationReport:
    """Find groups, removals and findings of the data set in `folder` and write `curation.jsonl`, then `curation.json`.

    Nothing else is changed: a build with `curation.jsonl` as its `exclude` leaves the removals out. `policy` is by
    default that of the manifest. The same data set and policy give the same bytes for any number of workers.

    Raises:
        UserError: `folder` is no finished data set.
        RunFailure: a stored image or record cannot be read.
    """
    shards = ShardSet(folder)
    policy = policy or policy_of(shards.manifest)
    categories = {name: source.categories for name, source in shards.manifest.sources.items()}
    (folder / SUMMARY_NAME).unlink(missing_ok=True)
    try:
        findings = _check_texts(shards, categories, workers, progress)
        rows = load_rows(shards, workers, progress)
        with progress.stage("groups", len(rows), "images") as advance:
            groups = find_groups(rows, aliases or load_aliases(), stored_thumbnails(shards, rows), workers)
            advance(len(rows))
        findings += check_groups(rows, groups, shards, categories)
    finally:
        shards.close()
    splits = [f"{rows.source(row)}/{rows.split(row)}" for row in range(len(rows))]
    evaluated = {name: policy.evaluates(*name.split("/")) for name in set(splits)}
    evaluation = np.array([evaluated[name] for name in splits], bool)
    report = CurationReport(
        data_set=shards.manifest.id,
        rows=rows,
        groups=groups,
        policy=policy,
        removals=guard(groups, evaluation),
        removed=removed_before(folder),
        findings=tuple(sorted(findings, key=lambda finding: (finding.level, finding.check, finding.id, finding.place))),
        shared=shared_by_benchmarks(groups.labels, splits, evaluation),
    )
    _write(folder, report)
    return report


def _check_texts(
    shards: ShardSet, categories: Mapping[str, tuple[str, ...]], workers: int, progress: Progress
) -> list[TextFault]:
    numbers = range(len(shards.manifest.shards))
    found: dict[int, list[TextFault]] = {}
    written = dialect(shards.manifest.dialect_name)
    with progress.stage("texts", sum(shard.records for shard in shards.manifest.shards), "records") as advance:
        for position, findings in run_tasks(partial(_check_shard, shards, categories, written), numbers, workers):
            found[position] = findings
            advance(shards.manifest.shards[position].records)
    return [finding for number in numbers for finding in found[number]]


def _check_shard(
    shards: ShardSet, categories: Mapping[str, tuple[str, ...]], written: Dialect, number: int
) -> list[TextFault]:
    shard = shards.manifest.shards[number]
    findings = []
    table = shards.index(number).select(["id", "record_offset", "record_size"])
    for row in table.to_pylist():
        data = shards.read(number, row["record_offset"], row["record_size"])
        try:
            record = Record.from_json(data)
        except (ValidationError, orjson.JSONDecodeError) as error:
            raise RunFailure(f"record of {row['id']} is not valid: {error}. See `mmrs verify`.") from error
        findings += check_record(record, categories[shard.source], written)
    shards.close()
    return findings


def _write(folder: Path, report: CurationReport) -> None:
    with atomic_writer(folder / CURATION_NAME) as file:
        file.writelines(report.lines())
    options = orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    write_atomic(folder / SUMMARY_NAME, orjson.dumps(report.summary(), option=options))
