"""Curate finished data sets together: groups, leakage guard and text checks, written beside the manifest of each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import ValidationError

from mmrs.curation.fingerprints import stored_thumbnails
from mmrs.curation.group_checks import check_groups
from mmrs.curation.groups import Groups, find_groups, groups_of_samples
from mmrs.curation.guard import Policy, guard, policy_of, shared_by_benchmarks
from mmrs.curation.image_table import Rows, load_rows
from mmrs.curation.known_copies import AliasTable, load_aliases
from mmrs.curation.report import (
    CURATION_MARKS,
    CURATION_NAME,
    SUMMARY_NAME,
    CurationReport,
    RowOrigin,
    removed_before,
    summary_json,
)
from mmrs.curation.text_checks import TextFault, check_record
from mmrs.engines.base import Engine
from mmrs.engines.processes import ProcessPool
from mmrs.errors import RunFailure, UserError
from mmrs.instructions.dialects import Dialect, dialect
from mmrs.progress import Progress
from mmrs.record import Record
from mmrs.shards.reader import OneShard, ShardSet
from mmrs.shards.several import SeveralSets
from mmrs.storage.open import open_place
from mmrs.storage.place import Place
from mmrs.storage.urls import is_writable, parse_location
from mmrs.text import not_writable, see_verify


@dataclass(frozen=True, slots=True)
class CuratedSet:
    """One of the data sets that are curated together: what it is trained on, and where its two files go."""

    shards: ShardSet
    policy: Policy
    out: Path | str


def curate(
    location: Path | str,
    progress: Progress,
    policy: Policy | None = None,
    workers: int = 1,
    aliases: AliasTable | None = None,
    out: Path | str | None = None,
) -> CurationReport:
    """`curate_sets` for one data set, in processes of this machine.

    Args:
        location: folder or URL of the data set.
        policy: by default that of the manifest.
        out: folder or URL for the two files; default beside the data set.
    """
    shards = ShardSet(location)
    where = shards.location if out is None else out
    place_for_curation(where)
    chosen = CuratedSet(shards, policy or policy_of(shards.manifest), where)
    return curate_sets([chosen], progress, ProcessPool(workers), workers, aliases)[0]


def curate_sets(
    sets: Sequence[CuratedSet],
    progress: Progress,
    engine: Engine,
    workers: int = 1,
    aliases: AliasTable | None = None,
) -> tuple[CurationReport, ...]:
    """Find groups, removals and findings of data sets, and write `curation.jsonl`, then `curation.json`, for each.

    Copies and leaks are found across all of them. Nothing else is changed: a build with its `curation.jsonl` as
    `exclude` leaves its removals out. The same data sets and policies give the same bytes for any number of workers, in
    any order.

    Args:
        engine: where records are checked and fingerprints made that indexes lack.
        workers: processes of this machine that search for copies.

    Raises:
        UserError: there is no finished data set at a location, or nothing can be written to an `out`.
        RunFailure: a stored image or record cannot be read, or a URL does not answer.
    """
    shards = SeveralSets(tuple(one.shards for one in sets))
    places = [place_for_curation(one.out) for one in sets]
    for place in places:
        with _writing(place):
            _check_own(place)
            place.remove([SUMMARY_NAME])
    try:
        faults = _check_texts(shards, engine, progress)
        rows = load_rows(shards, engine, progress)
        with progress.stage("groups", len(rows), "images") as advance:
            groups = find_groups(rows, aliases or load_aliases(), stored_thumbnails(shards, rows), workers)
            advance(len(rows))
        rows, groups = groups_of_samples(rows, groups)
        owners = np.array([number for number, _ in shards.places], np.int32)
        owner = owners[rows.shard]
        for row, fault in check_groups(rows, groups, shards):
            faults[int(owner[row])].append(fault)
    finally:
        shards.close()
    reports = _reports(sets, rows, groups, owner, faults)
    for place, report in zip(places, reports, strict=True):
        with _writing(place):
            place.write_parts(CURATION_NAME, report.lines())
            place.write(SUMMARY_NAME, summary_json(report))
    return reports


def _reports(
    sets: Sequence[CuratedSet],
    rows: Rows,
    groups: Groups,
    owner: npt.NDArray[np.int32],
    faults: Sequence[Sequence[TextFault]],
) -> tuple[CurationReport, ...]:
    splits = [f"{rows.source(row)}/{rows.split(row)}" for row in range(len(rows))]
    pairs = list(zip(owner.tolist(), splits, strict=True))
    evaluated = {(number, name): sets[number].policy.evaluates(*name.split("/")) for number, name in set(pairs)}
    evaluation = np.array([evaluated[pair] for pair in pairs], bool)
    removals = guard(groups, evaluation)
    shared = shared_by_benchmarks(groups.labels, splits, evaluation)
    names = tuple(str(one.shards.location) for one in sets)
    return tuple(
        CurationReport(
            data_set=one.shards.manifest.id,
            rows=rows,
            groups=groups,
            policy=one.policy,
            removals=tuple(removal for removal in removals if owner[removal.row] == number),
            removed=removed_before(one.shards),
            findings=tuple(sorted(faults[number], key=lambda fault: (fault.level, fault.check, fault.id, fault.place))),
            shared=shared,
            origin=RowOrigin(owner, names, number),
        )
        for number, one in enumerate(sets)
    )


@dataclass(frozen=True, slots=True)
class _TextTask:
    """The records of one shard, with what is known of their source and their text."""

    shard: OneShard
    categories: tuple[str, ...]
    written: Dialect


def _check_texts(shards: SeveralSets, engine: Engine, progress: Progress) -> list[list[TextFault]]:
    """The faults of each data set, in the order of its shards."""
    tasks = [
        _TextTask(shards.one(number), shards.source_entry(number).categories, dialect(shards.dialect_name(number)))
        for number in range(len(shards.entries))
    ]
    found: dict[int, list[TextFault]] = {}
    run = engine.run(_check_shard, tasks, lambda task: task.shard.entry.path, progress.note)
    with progress.stage("texts", sum(entry.records for entry in shards.entries), "records") as advance:
        for position, findings in run:
            found[position] = findings
            advance(shards.entries[position].records)
    faults: list[list[TextFault]] = [[] for _ in shards.sets]
    for position, (number, _) in enumerate(shards.places):
        faults[number] += found[position]
    return faults


def _check_shard(task: _TextTask) -> list[TextFault]:
    findings = []
    table = task.shard.index(["id", "record_offset", "record_size"])
    with task.shard.opened() as read:
        for row in table.to_pylist():
            data = read(row["record_offset"], row["record_size"])
            try:
                record = Record.from_json(data)
            except (ValidationError, orjson.JSONDecodeError) as error:
                where = see_verify(task.shard.location)
                raise RunFailure(f"record of {row['id']} is not valid: {error}. {where}") from error
            findings += check_record(record, task.categories, task.written)
    return findings


def places_for_several(locations: Sequence[Path | str], out: Path | str | None) -> list[Path | str]:
    """Where the files of each of several data sets go: beside it, or in a folder of `out` that has its name."""
    if out is None or len(locations) == 1:
        return [location if out is None else out for location in locations]
    names: list[str] = []
    for location in locations:
        name = str(location).rstrip("/").rpartition("/")[2] or "data"
        names.append(name if name not in names else f"{name}-{len(names) + 1}")
    return [out / name if isinstance(out, Path) else f"{out}/{name}" for name in names]


def policies_of(sets: Sequence[ShardSet], train_splits: Collection[str] = ()) -> list[Policy]:
    """The policy of each data set (`policy_of`); of the `train_splits`, each has those that it knows.

    Raises:
        UserError: no source of any of them has one of the `train_splits`.
    """
    known = [{split for source in one.manifest.sources.values() for split in source.splits} for one in sets]
    unknown = set(train_splits) - set().union(*known)
    if not train_splits or unknown:
        # The message names what there is.
        return [policy_of(one.manifest, train_splits) for one in sets]
    return [
        policy_of(one.manifest, mine) if (mine := sorted(set(train_splits) & splits)) else Policy(frozenset())
        for one, splits in zip(sets, known, strict=True)
    ]


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
