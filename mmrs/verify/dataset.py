"""Check a finished data set against its manifest: every byte, every member, every record, every image."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from mmrs.engines.base import Engine
from mmrs.engines.processes import ProcessPool
from mmrs.errors import RunFailure, UserError
from mmrs.progress import Progress
from mmrs.shards.checked_index import check_index
from mmrs.shards.manifest import MANIFEST_NAME, Manifest, load_manifest
from mmrs.shards.quarantine import QUARANTINE_NAME
from mmrs.storage.open import open_readable
from mmrs.storage.place import ReadablePlace, read_digested
from mmrs.storage.retry import DEFAULT_PATIENCE, Patience
from mmrs.verify.shard import VerifyFinding, check_piece, cut_into_pieces, digests_of

_SHOWN_FINDINGS = 20


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome: an empty `findings` means that every check passed on every sample."""

    manifest: Manifest
    samples: int
    findings: tuple[VerifyFinding, ...]


def verify_dataset(
    location: Path | str,
    workers: int,
    progress: Progress,
    patience: Patience = DEFAULT_PATIENCE,
    engine: Engine | None = None,
) -> Verification:
    """Check every shard of a data set.

    Digests of tar and index; adjacency, names and order of members; one record per image, valid against the schema and
    in canonical form; offsets, sizes and columns of the index; sha256, size and full decode of every image; keys and
    ids unique over the data set; done-files in agreement; the quarantine's digest; counts of splits and their shards.

    Args:
        workers: processes, where no `engine` is given.
        engine: where shards are checked; all of its machines must see `location`.

    Raises:
        UserError: there is no finished data set at `location`, a folder or a URL, or it cannot be reached.
        RunFailure: a URL does not answer, after as many tries as `patience` has.
    """
    place = open_readable(location, patience)
    try:
        manifest = load_manifest(place)
    except OSError as error:
        raise UserError(f"{place} cannot be read: {error}. Check the address and the credentials.") from error
    findings: set[VerifyFinding] = set()
    keys: list[np.ndarray] = []
    ids: list[np.ndarray] = []
    pieces = [piece for shard in manifest.shards for piece in cut_into_pieces(place, shard)]
    with progress.stage("verify", sum(shard.records for shard in manifest.shards), "samples") as advance:
        run = (engine or ProcessPool(workers)).run(
            partial(check_piece, place), pieces, lambda piece: piece.shard.path, progress.note
        )
        for position, checked in run:
            findings |= set(checked.findings)
            keys.append(checked.keys)
            ids.append(checked.ids)
            advance(len(pieces[position].rows))
    findings |= {*_whole_findings(place, manifest), *_repeated(place, manifest, "key", keys)}
    findings |= set(_repeated(place, manifest, "id", ids))
    found = sorted(findings, key=lambda finding: (finding.path, finding.key or "", finding.what))
    return Verification(manifest, sum(map(len, keys)), tuple(found))


def _repeated(
    place: ReadablePlace, manifest: Manifest, kind: Literal["key", "id"], digests: Sequence[np.ndarray]
) -> Iterator[VerifyFinding]:
    """Names that occur more than once: looked for by digest, and read again only where two are equal."""
    found, counts = np.unique(np.concatenate([np.empty(0, np.uint64), *digests]), return_counts=True)
    suspects = found[counts > 1]
    if not len(suspects):
        return
    names: Counter[str] = Counter()
    for shard in manifest.shards:
        try:
            content = read_digested(place, shard.index_path, shard.index_sha256)
            column = check_index(content, shard, (kind,))[kind]
        except (OSError, ValueError, UserError, RunFailure):
            continue  # told of where the shard was checked
        here = np.isin(digests_of(column), suspects)
        names.update(column.filter(pa.array(here)).to_pylist())
    for name, count in names.items():
        if count > 1:
            yield VerifyFinding(MANIFEST_NAME, name, f"{kind} occurs {count} times")


def _whole_findings(place: ReadablePlace, manifest: Manifest) -> Iterator[VerifyFinding]:
    """What concerns no single shard."""
    try:
        content = read_digested(place, QUARANTINE_NAME, manifest.quarantine_sha256)
        digest = hashlib.sha256(content).hexdigest()
        if digest != manifest.quarantine_sha256:
            what = f"sha256 is {digest}, the manifest says {manifest.quarantine_sha256}"
            yield VerifyFinding(QUARANTINE_NAME, None, what)
    except (OSError, UserError) as error:
        yield VerifyFinding(QUARANTINE_NAME, None, f"cannot be read: {error}")
    records: Counter[tuple[str, str]] = Counter()
    for shard in manifest.shards:
        records[shard.source, shard.split] += shard.records
    stated = {
        (name, split): n.records for name, source in manifest.sources.items() for split, n in source.splits.items()
    }
    for source, split in sorted(stated.keys() | records.keys()):
        counted, said = records[source, split], stated.get((source, split), 0)
        if counted != said:
            what = f"{source}/{split} has {said} records, its shards have {counted}"
            yield VerifyFinding(MANIFEST_NAME, None, what)


def describe_verification(result: Verification) -> str:
    """The outcome in words; the first findings in full."""
    shards = len(result.manifest.shards)
    if not result.findings:
        return f"ok: {result.samples} samples in {shards} shards, data set {result.manifest.id[:16]}"
    lines = [str(finding) for finding in result.findings[:_SHOWN_FINDINGS]]
    if len(result.findings) > _SHOWN_FINDINGS:
        lines.append(f"... and {len(result.findings) - _SHOWN_FINDINGS} more")
    damaged = len({finding.path for finding in result.findings})
    lines.append(
        f"{len(result.findings)} findings in {damaged} files of {shards} shards. Delete the files named above and run "
        "the same `mmrs build` again: it writes only what is missing."
    )
    return "\n".join(lines)
