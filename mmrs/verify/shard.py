"""Checks of one shard: its files as a whole, and its samples in blocks that are read and told of by themselves.

A tar in a folder is never held whole: its digest is taken in passing, and a sample is read by its place. What the index
says of places is compared with the headers that such members have; only where one differs is the tar read by `tarfile`,
which says what is there (35 us a member, a header compared: 2). A tar at a URL is fetched once and held.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import numpy as np
import orjson
import pyarrow as pa
from PIL import Image
from pydantic import ValidationError

from mmrs.errors import RunFailure, UserError
from mmrs.imaging.probe import open_stored
from mmrs.record import ImageInfo, Record
from mmrs.shards.checked_index import check_index
from mmrs.shards.index import IMAGE_PLACES, image_places
from mmrs.shards.manifest import ShardEntry, done_path
from mmrs.shards.tar import BLOCK, MEMBER_NAME, image_member, member_header
from mmrs.storage.local import LocalPlace
from mmrs.storage.place import READINGS, ReadablePlace, read_digested, read_settled, too_large
from mmrs.storage.plain_files import open_to_read
from mmrs.text import harmless, shorten

SHOWN_LETTERS = 250
_SLACK_BYTES = 2**20
_BYTES_AT_ONCE = 2**20
# Each block reads the index again, so there are few; enough of them that a bar moves and processes share a shard.
_BLOCKS, _LEAST_SAMPLES = 8, 256
_COLUMNS_OF_SAMPLES = (
    *("key", "id", "width", "height", "dialogue_tasks", "sha256"),
    *("record_offset", "record_size", "further_sha256", *IMAGE_PLACES),
)


@dataclass(frozen=True, slots=True)
class VerifyFinding:
    """One thing that is wrong: the file (relative to the data set's folder), the sample key where known, and what."""

    path: str
    key: str | None
    what: str

    def __str__(self) -> str:
        # A member of somebody's tar may have a name of any length.
        key = f" [{shorten(self.key, SHOWN_LETTERS)}]" if self.key else ""
        return harmless(f"{self.path}{key}: {shorten(self.what, 4 * SHOWN_LETTERS)}")


@dataclass(frozen=True, slots=True)
class ShardPiece:
    """What one task checks of a shard: its files as a whole, samples of some rows of its index, or both."""

    shard: ShardEntry
    files: bool
    rows: range


@dataclass(frozen=True, slots=True)
class CheckedPiece:
    """What was found, and digests of all keys and of all ids where the files were checked: unsigned, of 64 bits."""

    findings: tuple[VerifyFinding, ...]
    keys: np.ndarray
    ids: np.ndarray


def cut_into_pieces(place: ReadablePlace, shard: ShardEntry) -> list[ShardPiece]:
    """The pieces of a shard: what is not on this machine is read once, in one."""
    if not isinstance(place, LocalPlace):
        return [ShardPiece(shard, True, range(shard.records))]
    step = max(_LEAST_SAMPLES, -(-shard.records // _BLOCKS))
    starts = range(0, shard.records, step)
    blocks = [ShardPiece(shard, False, range(start, min(start + step, shard.records))) for start in starts]
    return [ShardPiece(shard, True, range(0)), *blocks]


def check_piece(place: ReadablePlace, piece: ShardPiece) -> CheckedPiece:
    """Whatever is wrong with it; several pieces may say the same of a file that cannot be read."""
    shard = piece.shard
    nothing = np.empty(0, np.uint64)
    findings: list[VerifyFinding] = []
    try:
        with _open_tar(place, shard) as tar:
            # A little more than there should be, so that a file that grew is told from one that is whole.
            index_bytes = read_digested(place, shard.index_path, shard.index_sha256, shard.index_bytes + _SLACK_BYTES)
            if piece.files:
                findings += _digest_findings(tar, index_bytes, _done_file(place, shard), shard)
            try:
                table = check_index(index_bytes, shard, None if piece.files else _COLUMNS_OF_SAMPLES)
            except ValueError as error:
                findings.append(VerifyFinding(shard.index_path, None, f"index cannot be read: {error}"))
                return CheckedPiece(tuple(findings), nothing, nothing)
            if piece.files:
                findings += [VerifyFinding(shard.path, key, what) for key, what in _member_findings(tar, table)]
            for row in table.slice(piece.rows.start, len(piece.rows)).to_pylist():
                images = [tar.read_at(*place) for place in image_places(row)]
                found = _sample_findings(images, tar.read_at(row["record_offset"], row["record_size"]), row, shard)
                findings += [VerifyFinding(shard.path, row["key"], what) for what in found]
    except (OSError, UserError, RunFailure, orjson.JSONDecodeError) as error:
        return CheckedPiece((VerifyFinding(shard.path, None, f"cannot be read: {error}"),), nothing, nothing)
    if not piece.files:
        return CheckedPiece(tuple(findings), nothing, nothing)
    return CheckedPiece(tuple(findings), digests_of(table["key"]), digests_of(table["id"]))


def digests_of(names: pa.ChunkedArray) -> np.ndarray:
    """64 bits of each name: of a million names 8 MB, where they themselves would take 100."""
    digests = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names.to_pylist())
    return np.frombuffer(b"".join(digests), np.uint64)


class _Tar(Protocol):
    def read_at(self, offset: int, size: int) -> bytes:
        """At most `size` bytes."""

    def digest(self, wanted: str) -> tuple[str, int]:
        """sha256 and bytes of the whole; where it is not `wanted`, what two readings in a row agree on."""

    def open(self) -> BinaryIO:
        """The whole from its start."""


@dataclass(frozen=True, slots=True)
class _HeldTar:
    content: bytes

    def read_at(self, offset: int, size: int) -> bytes:
        return self.content[offset : offset + size]

    def digest(self, wanted: str) -> tuple[str, int]:
        return hashlib.sha256(self.content).hexdigest(), len(self.content)

    def open(self) -> BinaryIO:
        return io.BytesIO(self.content)


@dataclass(frozen=True, slots=True)
class _TarOnDisk:
    descriptor: int

    def read_at(self, offset: int, size: int) -> bytes:
        return os.pread(self.descriptor, size, offset)

    def digest(self, wanted: str) -> tuple[str, int]:
        found = self._digest()
        for _ in range(READINGS - 1):
            if found[0] == wanted:
                break
            before, found = found, self._digest()
            if found == before:
                break
        return found

    def _digest(self) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        while data := os.pread(self.descriptor, _BYTES_AT_ONCE, size):
            digest.update(data)
            size += len(data)
        return digest.hexdigest(), size

    def open(self) -> BinaryIO:
        file = open(self.descriptor, "rb", closefd=False)  # noqa: SIM115 - belongs to who opened the tar
        file.seek(0)
        return file


@contextmanager
def _open_tar(place: ReadablePlace, shard: ShardEntry) -> Iterator[_Tar]:
    most_bytes = shard.bytes + _SLACK_BYTES
    if not isinstance(place, LocalPlace):
        yield _HeldTar(read_digested(place, shard.path, shard.sha256, most_bytes))
        return
    descriptor = open_to_read(place.root / shard.path)
    try:
        if os.fstat(descriptor).st_size > most_bytes:
            raise too_large(place.root / shard.path, most_bytes)
        yield _TarOnDisk(descriptor)
    finally:
        os.close(descriptor)


def _digest_findings(tar: _Tar, index_bytes: bytes, done: dict[str, Any], shard: ShardEntry) -> Iterator[VerifyFinding]:
    sha256, size = tar.digest(shard.sha256)
    actual = {"sha256": sha256, "bytes": size}
    actual |= {"index_sha256": hashlib.sha256(index_bytes).hexdigest(), "index_bytes": len(index_bytes)}
    for name, value in actual.items():
        for where, stated in (("manifest", getattr(shard, name)), ("done-file", done.get(name))):
            if stated != value:
                yield VerifyFinding(shard.path, None, f"{name} is {value}, the {where} says {stated}")


def _done_file(place: ReadablePlace, shard: ShardEntry) -> dict[str, Any]:
    def agrees(content: bytes) -> bool:
        try:
            done = orjson.loads(content)
        except orjson.JSONDecodeError:
            return False
        return isinstance(done, dict) and (done.get("sha256"), done.get("bytes")) == (shard.sha256, shard.bytes)

    found = orjson.loads(read_settled(place, done_path(shard.path), agrees, _SLACK_BYTES))
    return found if isinstance(found, dict) else {}


_Member = tuple[str, int, int]


def _member_findings(tar: _Tar, table: pa.Table) -> Iterator[tuple[str | None, str]]:
    first = tar.read_at(0, BLOCK)
    suffix = first[:100].rstrip(b"\0").decode("ascii", "replace").partition(".")[2]
    columns = table.select(["key", "record_offset", "record_size", *IMAGE_PLACES]).to_pylist()
    expected: list[_Member] = []
    for row in columns:
        key = row["key"]
        images = enumerate(image_places(row))
        expected += [(image_member(key, number, suffix), *place) for number, place in images]
        expected.append((f"{key}.json", row["record_offset"], row["record_size"]))
    if not _is_as_written(tar, expected):
        yield from _differences(tar, expected)


def _is_as_written(tar: _Tar, expected: Sequence[_Member]) -> bool:
    """Whether the tar has these members in this order and no other, each with the header that a build writes."""
    position = 0
    try:
        for name, offset, size in expected:
            if offset != position + BLOCK or not MEMBER_NAME.fullmatch(name):
                return False
            if tar.read_at(position, BLOCK) != member_header(name, size):
                return False
            position = offset + size + -size % BLOCK
    except ValueError:
        return False
    return not any(tar.read_at(position, BLOCK))


def _differences(tar: _Tar, expected: Sequence[_Member]) -> Iterator[tuple[str | None, str]]:
    members: list[_Member] = []
    try:
        with tarfile.open(fileobj=tar.open(), mode="r:") as archive:
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
    suffixes = {name.rpartition(".")[2] for name, _, _ in members} - {"json"}
    if len(suffixes) > 1:
        yield None, f"more than one image suffix: {', '.join(sorted(suffixes))}"
    suffix = next(iter(suffixes), "")
    for position, (found, (name, offset, size)) in enumerate(zip(members, expected, strict=False)):
        wanted = (name if name.endswith(".json") else f"{name.rpartition('.')[0]}.{suffix}", offset, size)
        if found != wanted:
            yield wanted[0], f"member {position} is {found}, the index says {wanted}"
            return
    if len(members) != len(expected):
        yield None, f"{len(members)} members, the index names {len(expected)}"


def _sample_findings(images: Sequence[bytes], data: bytes, row: dict[str, Any], shard: ShardEntry) -> Iterator[str]:
    try:
        record = Record.from_json(data)
    except (ValidationError, orjson.JSONDecodeError) as error:
        yield f"record is not valid: {error}"
        return
    if record.to_json() != data:
        yield "record is not in canonical form"
    if (record.source, record.split, record.id) != (shard.source, shard.split, row["id"]):
        yield f"record says {record.id} of {record.source}/{record.split}"
    if len(images) != len(record.images):
        yield f"the index has {len(images)} images, the record {len(record.images)}"
    digests = [row["sha256"], *row["further_sha256"]]
    for number, (image, known, digest) in enumerate(zip(images, record.images, digests, strict=False)):
        yield from _image_findings(image, known, digest, f"image {number}" if number else "image")
    if [dialogue.task for dialogue in record.dialogues] != row["dialogue_tasks"]:
        yield "index and record disagree on the dialogues' tasks"
    if (record.image.width, record.image.height) != (row["width"], row["height"]):
        yield "index and record disagree on the image's size"


def _image_findings(image: bytes, known: ImageInfo, indexed: str, name: str) -> Iterator[str]:
    digest = hashlib.sha256(image).hexdigest()
    if digest != known.sha256 or digest != indexed:
        yield f"sha256 of the {name} differs from the record's or the index's"
    try:
        with open_stored(image) as picture:
            picture.load()
            if (*picture.size, picture.mode) != (known.width, known.height, known.mode):
                yield f"{name} is {picture.size} {picture.mode}, the record says otherwise"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        yield f"{name} cannot be decoded: {error}"
