"""Check a finished data set against its manifest: every byte, every member, every record, every image."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from PIL import Image
from pydantic import ValidationError

from mmrs.engines.processes import run_tasks
from mmrs.errors import RunFailure, UserError
from mmrs.imaging.probe import open_stored
from mmrs.progress import Progress
from mmrs.record import Record
from mmrs.shards.checked_index import check_index
from mmrs.shards.manifest import MANIFEST_NAME, Manifest, ShardEntry, done_path, load_manifest
from mmrs.shards.quarantine import QUARANTINE_NAME
from mmrs.shards.tar import MEMBER_NAME
from mmrs.storage.open import open_readable
from mmrs.storage.place import ReadablePlace, read_digested, read_settled
from mmrs.storage.retry import DEFAULT_PATIENCE, Patience
from mmrs.text import harmless, shorten

_SHOWN_FINDINGS = 20
_SHOWN_LETTERS = 250
_SLACK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class VerifyFinding:
    """One thing that is wrong: the file (relative to the data set's folder), the sample key where known, and what."""

    path: str
    key: str | None
    what: str

    def __str__(self) -> str:
        # A member of somebody's tar may have a name of any length.
        key = f" [{shorten(self.key, _SHOWN_LETTERS)}]" if self.key else ""
        return harmless(f"{self.path}{key}: {shorten(self.what, 4 * _SHOWN_LETTERS)}")


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome: an empty `findings` means that every check passed on every sample."""

    manifest: Manifest
    samples: int
    findings: tuple[VerifyFinding, ...]


def verify_dataset(
    location: Path | str, workers: int, progress: Progress, patience: Patience = DEFAULT_PATIENCE
) -> Verification:
    """Check every shard of a data set.

    Digests of tar and index; adjacency, names and order of members; one record per image, valid against the schema and
    in canonical form; offsets, sizes and columns of the index; sha256, size and full decode of every image; keys and
    ids unique over the data set; done-files in agreement; the quarantine's digest; counts of splits and their shards.

    Raises:
        UserError: there is no finished data set at `location`, a folder or a URL, or it cannot be reached.
        RunFailure: a URL does not answer, after as many tries as `patience` has.
    """
    place = open_readable(location, patience)
    try:
        manifest = load_manifest(place)
    except OSError as error:
        raise UserError(f"{place} cannot be read: {error}. Check the address and the credentials.") from error
    findings: list[VerifyFinding] = []
    keys: Counter[str] = Counter()
    ids: Counter[str] = Counter()
    with progress.stage("verify", sum(shard.records for shard in manifest.shards), "samples") as advance:
        for position, (found, shard_keys, shard_ids) in run_tasks(
            partial(verify_shard, place), manifest.shards, workers
        ):
            findings += found
            keys.update(shard_keys)
            ids.update(shard_ids)
            advance(manifest.shards[position].records)
    findings += _whole_findings(place, manifest)
    for kind, counter in (("key", keys), ("id", ids)):
        findings += [
            VerifyFinding(MANIFEST_NAME, name, f"{kind} occurs {n} times") for name, n in counter.items() if n > 1
        ]
    findings.sort(key=lambda finding: (finding.path, finding.key or "", finding.what))
    return Verification(manifest, keys.total(), tuple(findings))


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


def verify_shard(place: ReadablePlace, shard: ShardEntry) -> tuple[list[VerifyFinding], list[str], list[str]]:
    """The findings, keys and ids of one shard."""
    findings: list[VerifyFinding] = []
    try:
        # A little more than there should be, so that a file that grew is told from one that is whole.
        tar_bytes = read_digested(place, shard.path, shard.sha256, shard.bytes + _SLACK_BYTES)
        index_bytes = read_digested(place, shard.index_path, shard.index_sha256, shard.index_bytes + _SLACK_BYTES)
        done = _done_file(place, shard)
    except (OSError, UserError, RunFailure, orjson.JSONDecodeError) as error:
        return [VerifyFinding(shard.path, None, f"cannot be read: {error}")], [], []
    actual = {"sha256": hashlib.sha256(tar_bytes).hexdigest(), "bytes": len(tar_bytes)}
    actual |= {"index_sha256": hashlib.sha256(index_bytes).hexdigest(), "index_bytes": len(index_bytes)}
    for name, value in actual.items():
        for where, stated in (("manifest", getattr(shard, name)), ("done-file", done.get(name))):
            if stated != value:
                findings.append(VerifyFinding(shard.path, None, f"{name} is {value}, the {where} says {stated}"))
    try:
        rows = check_index(index_bytes, shard).to_pylist()
    except ValueError as error:
        return [*findings, VerifyFinding(shard.index_path, None, f"index cannot be read: {error}")], [], []
    findings += [VerifyFinding(shard.path, key, what) for key, what in _member_findings(tar_bytes, rows)]
    for row in rows:
        findings += [VerifyFinding(shard.path, row["key"], what) for what in _sample_findings(tar_bytes, row, shard)]
    return findings, [row["key"] for row in rows], [row["id"] for row in rows]


def _done_file(place: ReadablePlace, shard: ShardEntry) -> dict[str, Any]:
    def agrees(content: bytes) -> bool:
        try:
            done = orjson.loads(content)
        except orjson.JSONDecodeError:
            return False
        return isinstance(done, dict) and (done.get("sha256"), done.get("bytes")) == (shard.sha256, shard.bytes)

    found = orjson.loads(read_settled(place, done_path(shard.path), agrees, _SLACK_BYTES))
    return found if isinstance(found, dict) else {}


def _member_findings(tar_bytes: bytes, rows: list[dict[str, Any]]) -> Iterator[tuple[str | None, str]]:
    members = []
    try:
        with tarfile.open(fileobj=io.BytesIO(tar_bytes), mode="r:") as archive:
            for info in archive:
                if not info.isreg():
                    yield info.name, "member is no regular file"
                if not MEMBER_NAME.fullmatch(info.name):
                    yield info.name, "member name does not survive WebDataset readers"
                if (info.mtime, info.uid, info.gid) != (0, 0, 0):
                    yield info.name, "member carries a time or an owner"
                members.append((info.name, info.offset_data, info.size))
    except tarfile.TarError as error:
        yield None, f"tar is damaged: {error}"
    suffixes = {name.partition(".")[2] for name, _, _ in members} - {"json"}
    if len(suffixes) > 1:
        yield None, f"more than one image suffix: {', '.join(sorted(suffixes))}"
    suffix = next(iter(suffixes), "")
    expected = []
    for row in rows:
        expected.append((f"{row['key']}.{suffix}", row["image_offset"], row["image_size"]))
        expected.append((f"{row['key']}.json", row["record_offset"], row["record_size"]))
    for position, (found, wanted) in enumerate(zip(members, expected, strict=False)):
        if found != wanted:
            yield wanted[0], f"member {position} is {found}, the index says {wanted}"
            return
    if len(members) != len(expected):
        yield None, f"{len(members)} members, the index names {len(expected)}"


def _sample_findings(tar_bytes: bytes, row: dict[str, Any], shard: ShardEntry) -> Iterator[str]:
    data = tar_bytes[row["record_offset"] : row["record_offset"] + row["record_size"]]
    image = tar_bytes[row["image_offset"] : row["image_offset"] + row["image_size"]]
    try:
        record = Record.from_json(data)
    except (ValidationError, orjson.JSONDecodeError) as error:
        yield f"record is not valid: {error}"
        return
    if record.to_json() != data:
        yield "record is not in canonical form"
    if (record.source, record.split, record.id) != (shard.source, shard.split, row["id"]):
        yield f"record says {record.id} of {record.source}/{record.split}"
    digest = hashlib.sha256(image).hexdigest()
    if digest != record.image.sha256 or digest != row["sha256"]:
        yield "sha256 of the image differs from the record's or the index's"
    try:
        with open_stored(image) as picture:
            picture.load()
            if (*picture.size, picture.mode) != (record.image.width, record.image.height, record.image.mode):
                yield f"image is {picture.size} {picture.mode}, the record says otherwise"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        yield f"image cannot be decoded: {error}"
    if [dialogue.task for dialogue in record.dialogues] != row["dialogue_tasks"]:
        yield "index and record disagree on the dialogues' tasks"
    if (record.image.width, record.image.height) != (row["width"], row["height"]):
        yield "index and record disagree on the image's size"


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
