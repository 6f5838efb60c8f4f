"""Any WebDataset tar, ours or a stranger's: what readers will make of it, and a side index for random access.

WebDataset's rule (https://github.com/webdataset/webdataset): the last part of a member's path is cut at its first dot;
what stands before, folders included, is the sample's key, the rest its suffix. Members of one key form a sample as long
as they follow each other; when the key comes again later, readers see a second, partial sample.

Nothing is extracted to disk, and only members that could be part of a sample are read.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from mmrs.errors import BadItem
from mmrs.imaging.probe import probe
from mmrs.imaging.store import read_upright
from mmrs.imaging.suffixes import MEMBER_SUFFIXES
from mmrs.shards.tar import BLOCK
from mmrs.storage.atomic import atomic_writer

MAX_MEMBER_BYTES = 2**30
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstd"}

INDEX_SUFFIX = ".index.parquet"
_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("suffixes", pa.list_(pa.string()), nullable=False),
        pa.field("offsets", pa.list_(pa.int64()), nullable=False),
        pa.field("sizes", pa.list_(pa.int64()), nullable=False),
        pa.field("image", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("sha256", pa.string()),
        pa.field("problem", pa.string()),
    ],
    metadata={"format": "mmrs-foreign-index-1"},
)


@dataclass(slots=True)
class ForeignSample:
    """Members that a reader puts together. Offsets and sizes in bytes, headers excluded.

    `image` is the suffix of its image, `width` and `height` its size in pixels when upright, `sha256` that of its
    bytes; `problem` says why a reader should skip the sample.
    """

    key: str
    suffixes: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    image: str | None = None
    width: int | None = None
    height: int | None = None
    sha256: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class ForeignScan:
    """A scanned tar: its samples in order, and what is wrong, each with the key or member name where one is known."""

    samples: tuple[ForeignSample, ...]
    findings: tuple[tuple[str | None, str], ...]


def key_and_extension(name: str) -> tuple[str, str] | None:
    """``a/b.seg.png`` -> (``a/b``, ``seg.png``) as WebDataset readers cut it; None where they drop the member."""
    folder, slash, last = name.rpartition("/")
    stem, dot, suffix = last.partition(".")
    return (folder + slash + stem, suffix.lower()) if stem and dot and suffix else None


def scan_tar(path: Path) -> ForeignScan:
    """Read a whole tar: adjacency, duplicate keys and suffixes, names, sets of members, decodable images, valid JSON.

    Raises:
        OSError: the file cannot be read.
    """
    scan = _Scan()
    with path.open("rb") as file:
        kind = _COMPRESSED.get(file.read(2))
        file.seek(0)
        if kind is not None:
            return ForeignScan((), ((None, f"compressed with {kind}: no random access. Unpack it to a plain tar."),))
        try:
            # "r:" forbids transparent decompression, which would hide where members lie.
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for info in archive:
                    scan.add(info, file)
                end = archive.offset
        except (tarfile.TarError, UnicodeError, ValueError) as error:
            scan.find(None, f"tar is damaged: {error}")
        else:
            file.seek(max(0, end - BLOCK) if end % BLOCK == 0 else end)
            if b"\0" * 2 * BLOCK not in file.read(64 * BLOCK):
                scan.find(None, "no end marker: cut off, or still being written")
    return scan.finish()


def write_foreign_index(tar: Path, scan: ForeignScan) -> Path:
    """Write the index beside the tar as ``NAME.tar.index.parquet`` and return its path.

    The name is one of its own: other tools keep their metadata in ``NAME.parquet``.
    """
    path = tar.with_name(tar.name + INDEX_SUFFIX)
    rows = [{name: getattr(sample, name) for name in _SCHEMA.names} for sample in scan.samples]
    with atomic_writer(path) as file:
        pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), file, compression="zstd", store_schema=True)
    return path


class _Scan:
    """Samples and findings so far. A key that was left is remembered, so that its return is noticed."""

    def __init__(self) -> None:
        self._samples: list[ForeignSample] = []
        self._left: set[str] = set()
        self._findings: list[tuple[str | None, str]] = []

    def find(self, key: str | None, what: str) -> None:
        self._findings.append((key, what))

    def add(self, info: tarfile.TarInfo, file: BinaryIO) -> None:
        if info.isdir():
            return
        parts = PurePosixPath(info.name).parts
        if info.name.startswith("/") or ".." in parts:
            self.find(info.name, "name leads out of the folder that it is unpacked to")
            return
        if not info.isreg() or info.issparse():
            self.find(info.name, "member is no regular file (a link or a device): readers skip it")
            return
        named = key_and_extension(info.name)
        if named is None:
            self.find(info.name, "name has no key or no suffix: readers drop the member")
            return
        sample = self._sample(named[0])
        if named[1] in sample.suffixes:
            self._spoil(sample, f"suffix {named[1]} comes twice in one sample")
        sample.suffixes.append(named[1])
        sample.offsets.append(info.offset_data)
        sample.sizes.append(info.size)
        if info.size > MAX_MEMBER_BYTES:
            self._spoil(sample, f"{named[1]} has {info.size} bytes, more than {MAX_MEMBER_BYTES}")
            return
        self._content(sample, named[1], _read(file, info.offset_data, info.size), info.size)

    def _sample(self, key: str) -> ForeignSample:
        if self._samples and self._samples[-1].key == key:
            return self._samples[-1]
        if self._samples:
            self._left.add(self._samples[-1].key)
        sample = ForeignSample(key)
        self._samples.append(sample)
        if key in self._left:
            self._spoil(sample, "key comes again after other samples: readers see two samples of that key")
        return sample

    def _spoil(self, sample: ForeignSample, what: str) -> None:
        self.find(sample.key, what)
        sample.problem = sample.problem or what

    def _content(self, sample: ForeignSample, suffix: str, data: bytes, size: int) -> None:
        last = suffix.rpartition(".")[2]
        if len(data) < size:
            self._spoil(sample, f"{suffix} is cut off: {len(data)} of {size} bytes")
        elif last in MEMBER_SUFFIXES:
            self._image(sample, suffix, data)
        elif last == "json":
            try:
                orjson.loads(data)
            except orjson.JSONDecodeError as error:
                self._spoil(sample, f"{suffix} is no JSON: {error}")
        elif last == "txt":
            try:
                data.decode()
            except UnicodeDecodeError as error:
                self._spoil(sample, f"{suffix} is no UTF-8 text: {error}")

    def _image(self, sample: ForeignSample, suffix: str, data: bytes) -> None:
        named = Path(suffix)
        try:
            header = probe(named, data=data)
            read_upright(named, header, "optical", data=data)
        except (BadItem, OSError, SyntaxError, ValueError) as error:
            self._spoil(sample, f"{suffix} cannot be decoded: {error}")
            return
        size = header.upright_size
        # A sample may have more pictures (masks, depth): the one without a compound suffix is its image.
        if sample.image is None or "." in sample.image:
            sample.image, (sample.width, sample.height) = suffix, size
            sample.sha256 = hashlib.sha256(data).hexdigest()

    def finish(self) -> ForeignScan:
        """Compare the samples with each other."""
        if not self._samples:
            self.find(None, "no sample in it: WebDataset readers reject empty tars")
        sets = Counter(frozenset(sample.suffixes) for sample in self._samples)
        usual = min((-count, sorted(suffixes)) for suffixes, count in sets.items())[1] if sets else []
        for sample in self._samples:
            pictures = [suffix for suffix in sample.suffixes if suffix in MEMBER_SUFFIXES]
            if sample.problem is None and len(pictures) > 1:
                self._spoil(sample, f"{len(pictures)} pictures of one name ({', '.join(pictures)}): readers join them")
            if sample.problem is None and sorted(set(sample.suffixes)) != usual:
                self._spoil(sample, f"members are {', '.join(sample.suffixes)}, others have {', '.join(usual)}")
            if sample.problem is None and sample.image is None:
                self._spoil(sample, f"no image among {', '.join(sample.suffixes)}")
        return ForeignScan(tuple(self._samples), tuple(self._findings))


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    position = file.tell()
    file.seek(offset)
    data = file.read(size)
    file.seek(position)
    return data


def find_tars(folder: Path) -> Iterator[Path]:
    """Every tar under `folder`, or the file itself, sorted. Links to folders are not followed."""
    if folder.is_file():
        yield folder
        return
    yield from sorted(path for path in folder.rglob("*.tar") if path.is_file())
