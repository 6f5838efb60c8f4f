"""The contract of an export format: samples of one shard in, a part of the files out, what was left out counted.

A part is all that is written of one shard, and knows nothing of the others, which other processes write. It can be
written again over itself, so an export that was stopped goes on with the parts that are not whole. Files of a whole
split are joined from the parts at the end.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from mmrs.errors import RunFailure
from mmrs.export.wording import Wording
from mmrs.record import AnnotatedObject, Record

# Of objects whose source has no horizontal box: left out, or the extent of their quad in its place.
ObbRule = Literal["refuse", "envelope"]
NO_HORIZONTAL_BOX = "oriented objects without a horizontal box (--obb envelope writes their extents)"
IGNORED = "objects that count as nothing (crowds, ignored regions)"
NO_DIALOGUE = "images without a dialogue"
FURTHER_IMAGES = "images after the first of a sample (this format has one, which the boxes are of)"
SEVERAL_IMAGES = "samples of several images (this format has one image a row)"
# What a format makes of a sample of several images: all in one row, the first with its boxes, or nothing.
SeveralRule = Literal["all", "first", "none"]
PARTS_FOLDER = ".parts"
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
_NO_PLACE = re.compile(r"/\.{0,2}/|[\0\\]")


# A named tuple is made in a fifth of the time of a frozen dataclass; so are all that a record or dialogue needs here.
class PlacedSample(NamedTuple):
    """A record with the place of its image.

    Args:
        record: of the shards.
        path: of the image in an export that has images, relative to it.
        image: how rows name the image: `path`, or the URL of the member of a shard.
        image_bytes: as stored; empty unless the format holds images in its own files.
        further: `image` of the images after the first, where texts are about several.
        further_bytes: of each of them.
    """

    record: Record
    path: str
    image: str
    image_bytes: bytes
    further: tuple[str, ...] = ()
    further_bytes: tuple[bytes, ...] = ()

    @property
    def images(self) -> list[str]:
        """How rows name all images, in the order in which a model sees them."""
        return [self.image, *self.further]


@dataclass
class ExportCounts:
    """What a part or a split holds as it was written; `left_out` by reason."""

    images: int = 0
    objects: int = 0
    dialogues: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, other: ExportCounts) -> None:
        """Count the other's as well."""
        self.images += other.images
        self.objects += other.objects
        self.dialogues += other.dialogues
        self.left_out.update(other.left_out)


@dataclass(frozen=True, slots=True)
class ExportPart:
    """Where and how a shard is written.

    Args:
        folder: of the whole export.
        split: of the data set.
        number: of the shard in its split.
        of: shards of the split.
        categories: of all chosen sources, sorted; their positions are the class numbers of every split.
        source_categories: of the shard's source.
        wording: of questions about boxes, as in the shards.
        boxes: name of the box style of texts, for formats that leave it open.
        max_pixels: most pixels of an image that Qwen2.5-VL is shown.
        obb: what becomes of oriented objects where the format has horizontal boxes alone.
    """

    folder: Path
    split: str
    number: int
    of: int
    categories: tuple[str, ...]
    source_categories: tuple[str, ...]
    wording: Wording
    boxes: str
    max_pixels: int
    obb: ObbRule = "refuse"

    def file(self, kind: str) -> Path:
        """The part's piece of a file that is joined from all parts of the split."""
        return self.folder / PARTS_FOLDER / f"{self.name}.{kind}"

    @property
    def name(self) -> str:
        """Of the part, in the export."""
        return f"{self.split}-{self.number:05d}"


@dataclass(frozen=True, slots=True)
class WrittenExport:
    """What `ExportFormat.finish` gets: the folder, the counts by split, the class names, the parts of each split."""

    folder: Path
    counts: Mapping[str, ExportCounts]
    categories: tuple[str, ...]
    parts: Mapping[str, int]

    def pieces(self, split: str, kind: str) -> Iterator[Path]:
        """The pieces of a split in order."""
        for number in range(self.parts[split]):
            yield self.folder / PARTS_FOLDER / f"{split}-{number:05d}.{kind}"

    def lines(self, split: str, kind: str) -> Iterator[bytes]:
        """The lines of all pieces of a split, without their ends."""
        for piece in self.pieces(split, kind):
            with piece.open("rb") as content:
                for line in content:
                    yield line.removesuffix(b"\n")

    def append(self, file: BinaryIO, split: str, kind: str) -> None:
        """Write all pieces of a split into an open file."""
        for piece in self.pieces(split, kind):
            with piece.open("rb") as content:
                shutil.copyfileobj(content, file, 1 << 20)


def write_items(file: BinaryIO, items: Iterable[bytes]) -> None:
    """Write the items of a JSON list or object, each on a line of its own, with commas between them."""
    separator = b"\n"
    for item in items:
        file.write(separator + item)
        separator = b",\n"


def _finish_nothing(written: WrittenExport) -> None:
    """For formats whose files are whole once their parts are."""


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """One format.

    Args:
        name: what ``--format`` takes.
        summary: in a sentence, which files it writes.
        frame: of its boxes with the rounding, for the README of an export, by the name of the box style and the most
            pixels that ``--max-pixels`` gives.
        write: consumes the samples of a shard, each once, and writes its part.
        finish: joins parts and writes what all splits share.
        box_styles: names that ``--boxes`` takes, the default first; empty where the format has one frame.
        embeds_images: whether images lie inside its own files.
        front_matter: lines of YAML at the head of the README, for the names of the splits.
        several: what becomes of samples of several images.
    """

    name: str
    summary: str
    frame: Callable[[str, int], str]
    write: Callable[[Iterable[PlacedSample], ExportPart], ExportCounts]
    finish: Callable[[WrittenExport], None] = _finish_nothing
    box_styles: tuple[str, ...] = ()
    embeds_images: bool = False
    front_matter: Callable[[Sequence[str]], str] = lambda splits: ""
    several: SeveralRule = "none"


def fixed_frame(text: str) -> Callable[[str, int], str]:
    """The frame of a format that has one."""
    return lambda boxes, max_pixels: text


def image_path(record: Record, suffix: str, location: object, number: int = 0) -> str:
    """Where the image of a record lies in an export: ``images/<split>/<source>/<stem>.jpg``; of the numbered ones after
    the first in a folder beside, ``images/<split>/<source>.1/<stem>.jpg``, which is no name of a source.

    Raises:
        RunFailure: its id leads out of that folder, which no id of a build does.
    """
    source, split, stem = record.id.split("/", 2)
    if _NO_PLACE.search(f"/{split}/{source}/{stem}/"):
        raise RunFailure(f"{location}: the id {record.id!r} is no place for a file; nothing was exported.")
    return f"images/{split}/{source}{f'.{number}' if number else ''}/{stem}.{suffix}"


def label_path(image: str, suffix: str) -> str:
    """The label file of an image: ``labels`` in the place of ``images``."""
    return f"labels/{image.removeprefix('images/').rpartition('.')[0]}{suffix}"


def write_into(folder: Path, path: str, content: bytes) -> None:
    """Write a file of an export; its folder is made where it is not there.

    By the system's own calls: `Path.write_bytes` asks for the state of each new file and gives it a buffer, which takes
    as long as the writing.
    """
    place = f"{folder}/{path}"
    try:
        descriptor = os.open(place, _CREATE, 0o666)
    except FileNotFoundError:
        os.makedirs(place.rpartition("/")[0], exist_ok=True)
        descriptor = os.open(place, _CREATE, 0o666)
    try:
        written = os.write(descriptor, content)
        while written < len(content):
            written += os.write(descriptor, content[written:])
    finally:
        os.close(descriptor)


def horizontal_box(thing: AnnotatedObject, obb: ObbRule) -> tuple[float, float, float, float] | None:
    """xmin, ymin, xmax, ymax in pixels, or None where the source has no such box and none may take its place."""
    return thing.extent() if thing.hbb is not None or obb == "envelope" else None
