"""Curate a finished data set: groups, leakage guard and text checks, written beside its manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
from mmrs.curation.report import (
    CURATION_MARKS,
    CURATION_NAME,
    SUMMARY_NAME,
    CurationReport,
    removed_before,
    summary_json,
)
from mmrs.curation.text_checks import TextFault, check_record
from mmrs.engines.processes import run_tasks
from mmrs.errors import RunFailure, UserError
from mmrs.instructions.dialects import Dialect, dialect
from mmrs.progress import Progress
from mmrs.record import Record
from mmrs.shards.reader import ShardSet
from mmrs.storage.open import open_place
from mmrs.storage.place import Place
from mmrs.storage.urls import is_writable, parse_location
from mmrs.text import not_writable, see_verify


def curate(
    location: Path | str,
    progress: Progress,
    policy: Policy | None = None,
    workers: int = 1,
    aliases: AliasTable | None = None,
    out: Path | str | None = None,
) -> CurationReport:
    """Find groups, removals and findings of a data set and write `curation.jsonl`, then `curation.json`.

    Nothing else is changed: a build with `curation.jsonl` as its `exclude` leaves the removals out. `policy` is by
    default that of the manifest. The same data set and policy give the same bytes for any number of workers.

    Args:
        location: folder or URL of the data set.
        out: folder or URL for the two files; default beside the data set.

    Raises:
        UserError: there is no finished data set at `location`, or nothing can be written to `out`.
        RunFailure: a stored image or record cannot be read, or a URL does not answer.
    """
    shards = ShardSet(location)
    place = place_for_curation(shards.location if out is None else out)
    policy = policy or policy_of(shards.manifest)
    categories = {name: source.categories for name, source in shards.manifest.sources.items()}
    with _writing(place):
        _check_own(place)
        place.remove([SUMMARY_NAME])
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
        removed=removed_before(shards),
        findings=tuple(sorted(findings, key=lambda finding: (finding.level, finding.check, finding.id, finding.place))),
        shared=shared_by_benchmarks(groups.labels, splits, evaluation),
    )
    with _writing(place):
        place.write_parts(CURATION_NAME, report.lines())
        place.write(SUMMARY_NAME, summary_json(report))
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
    table = shards.index(number, ["id", "record_offset", "record_size"])
    for row in table.to_pylist():
        data = shards.read(number, row["record_offset"], row["record_size"])
        try:
            record = Record.from_json(data)
        except (ValidationError, orjson.JSONDecodeError) as error:
            raise RunFailure(f"record of {row['id']} is not valid: {error}. {see_verify(shards.location)}") from error
        findings += check_record(record, categories[shard.source], written)
    shards.close()
    return findings


def place_for_curation(out: Path | str) -> Place:
    """Where `curation.jsonl` and `curation.json` go. Raises `UserError` for a URL that can only be read."""
    where = parse_location(out)
    if not is_writable(where):
        scheme = str(where).partition(":")[0]
        raise UserError(f"{where}: {scheme} is read-only; give --out DIR for {CURATION_NAME} and {SUMMARY_NAME}.")
    return open_place(where)


def _check_own(place: Place) -> None:
    """Raise `UserError` where a file of others would be written over."""
    for name, content in place.read_many([SUMMARY_NAME, CURATION_NAME]).items():
        known = content if name == SUMMARY_NAME else content.partition(b"\n")[0]
        if content and CURATION_MARKS[name] not in known:
            raise UserError(f"{place}/{name} is no outcome of `mmrs curate`; move it, or write to another --out.")


@contextmanager
def _writing(place: Place) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(not_writable(place, error)) from error
