"""What a converter hands to the build: items, annotations, and the protocol that the build relies on.

`mmrs` knows no single source. Converters (in ``converters/``) implement `Source`; the build only calls it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from mmrs.errors import BadItem
from mmrs.record import Annotations, Sensor, TaskName
from mmrs.text import harmless_name

T = TypeVar("T")
# Folders of archivers that hold no data: ``__MACOSX`` repeats every name with ``._`` in front.
JUNK_FOLDERS = frozenset({"__macosx"})
# What Windows leaves in folders that somebody looked at; what other systems leave is hidden.
JUNK_FILES = frozenset({"thumbs.db", "desktop.ini"})
ARCHIVE_ENDINGS = (
    *(".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".tar"),
    *(".zip.001", ".7z.001", ".zip", ".rar", ".7z"),
)
_VOLUME = re.compile(r"\.part0*\d+$")
_LINE = re.compile(r":\d+$")


def unpacked_name(name: str) -> str:
    """The name, in lower case, of the folder that an archive usually unpacks to; empty where `name` is no archive's."""
    lower = name.casefold()
    ending = next((ending for ending in ARCHIVE_ENDINGS if lower.endswith(ending)), None)
    return _VOLUME.sub("", lower.removesuffix(ending)) if ending else ""


@dataclass(frozen=True, slots=True)
class RowImage:
    """An image that is a cell of a Parquet table and no file of its own.

    Args:
        file: the table.
        row: from 0, over the whole table.
        name: the plain file name that the table gives it, or one made of the row.
        column: of the bytes, dotted where it is part of another one (``image.bytes``).
        block: what the rows that are read in one go have in common, whatever folder the table lies in: a plan keeps
            them in one shard, or each shard would read the whole table.
    """

    file: Path
    row: int
    name: str
    column: str
    block: str

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    def __str__(self) -> str:
        """As messages and states name it: like a file in a folder."""
        return f"{self.file}/row {self.row}/{self.name}"


@dataclass(frozen=True, slots=True)
class FurtherImage:
    """An image after the first of a sample that has several.

    Args:
        image: the file, or the row of a table.
        role: the source's word for it: after, sar.
        sensor: its own, where it is not the source's.
    """

    image: Path | RowImage
    role: str | None = None
    sensor: Sensor | None = None

    @property
    def place(self) -> Path:
        """What messages name, as `Item.place`."""
        return _place(self.image)


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a source, found but not opened; or several that its texts compare.

    Args:
        stem: unique within (source, split); becomes the last part of the record id.
        image: the image file, or the row of a table that holds it.
        annotations: the annotation files that `Source.read` will read (they decide when a shard is rebuilt).
        payload: rows of a shared annotation file (COCO or caption JSON) that belong to this image; plain values only.
        scene: name of what neighbouring images have in common (a flight, a scene); the plan spreads one scene apart.
        further: the images after the first, in order: after the change, of another sensor.
        role: the source's word for the first image, where it has several.
    """

    stem: str
    image: Path | RowImage
    annotations: tuple[Path, ...] = ()
    payload: Any = None
    scene: str | None = None
    further: tuple[FurtherImage, ...] = ()
    role: str | None = None

    @property
    def place(self) -> Path:
        """What messages name: the image file, or the row as if its table were a folder."""
        return _place(self.image)

    @property
    def images(self) -> tuple[Path | RowImage, ...]:
        """All images, the first one first."""
        return (self.image, *(one.image for one in self.further))

    @property
    def file(self) -> Path:
        """The image file itself. Raises `BadItem` where the image is a row of a table."""
        if isinstance(self.image, RowImage):
            raise BadItem("the image is a row of a table; a file of its own is expected", str(self.image))
        return self.image


def _place(image: Path | RowImage) -> Path:
    return image if isinstance(image, Path) else Path(str(image))


@dataclass(frozen=True, slots=True)
class Tiling:
    """How large scenes are cut. Windows start every ``size - overlap`` pixels; the last one ends at the border.

    Args:
        size: side of the square window in pixels. A smaller scene gives one window of its own size.
        overlap: pixels shared by neighbouring windows.
        min_iof: an object stays in a tile when at least this share of its area (intersection over foreground) is
            inside; it then keeps its full quad, is flagged with its IoF, and text uses the clipped box.
        keep_empty: share (0..1) of tiles without objects that are kept, chosen by a hash of the tile's name.
    """

    size: int = 1024
    overlap: int = 200
    min_iof: float = 0.7
    keep_empty: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < self.size:
            raise ValueError(f"tiling overlap {self.overlap} must be at least 0 and less than size {self.size}")
        if not 0 < self.min_iof <= 1:
            raise ValueError(f"tiling min_iof {self.min_iof} must be in (0, 1]")
        if not 0 <= self.keep_empty <= 1:
            raise ValueError(f"tiling keep_empty {self.keep_empty} must be in [0, 1]")


@dataclass(frozen=True, slots=True)
class BandSelection:
    """Which bands of a source's files become the stored picture, and by which limits they become 8 bits.

    Args:
        bands: numbers from 1: one band (grey) or three (red, green, blue).
        low, high: values in units of the source that become 0 and 255, equal for all images of the source; both None
            takes the limits from the image by the sensor's rule (`mmrs.imaging.render`). 8-bit files are not stretched.
        linear: without the logarithm that SAR amplitude goes through by default.
    """

    bands: tuple[int, ...]
    low: float | None = None
    high: float | None = None
    linear: bool = False

    def __post_init__(self) -> None:
        if len(self.bands) not in (1, 3) or min(self.bands) < 1:
            raise ValueError(f"band selection {self.bands} must be one or three numbers from 1")
        if (self.low is None) != (self.high is None):
            raise ValueError(f"band selection limits {self.low}, {self.high} must be both given or both None")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"band selection limits must have low {self.low} < high {self.high}")

    @property
    def limits(self) -> tuple[float, float] | None:
        """(low, high), None where the image decides."""
        return None if self.low is None or self.high is None else (self.low, self.high)


class Absent(NamedTuple):
    """A finding, as (path, reason) among the others, that something is not there: a class folder, the image that a list
    names, the label file of an image.

    Parts of a set may be left out on purpose, so what is absent counts neither as a bad image nor as a bad row.
    """

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a source found on disk for one split.

    Args:
        items: sorted by stem.
        notes: choices a user should know of, one sentence each (which variant of an unpacking was taken).
        problems: (path, reason) of files of this split, or rows that name an image, that give no usable image;
            quarantined, never silent. Things that are not there are `Absent`, here and in `shared_problems`.
        unread_rows: (path, reason) of annotation rows of this split that belong to no known image; counted as rows, not
            as images.
        details: (path, reason) of parts left out of images that are kept (a caption without words); quarantined too,
            but no image is lost with them.
        shared_problems: (path, reason) of findings about the whole set, the same whichever split is asked for (a file
            that no list names). Whoever reads several splits counts them once, with the first split that it reads.
        tasks: what the annotations of this split allow beside `Source.tasks` (a file that turns its boxes).
        consulted: files that were read, or are counted in a note, beside those of items and findings: split lists,
            tables, class maps. What no split looked at is reported (`mmrs.builder.survey.unread_files`).
    """

    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()
    unread_rows: tuple[tuple[str, str], ...] = ()
    details: tuple[tuple[str, str], ...] = ()
    shared_problems: tuple[tuple[str, str], ...] = ()
    tasks: tuple[TaskName, ...] = ()
    consulted: frozenset[Path] = frozenset()

    def looked_at(self) -> Iterator[str]:
        """The path of every file that this split reads, counts in a note or says something about."""
        for item in self.items:
            yield from (str(image.file if isinstance(image, RowImage) else image) for image in item.images)
            yield from map(str, item.annotations)
        yield from map(str, self.consulted)
        for path, _ in (*self.problems, *self.unread_rows, *self.details, *self.shared_problems):
            yield _LINE.sub("", path)


@runtime_checkable
class Source(Protocol):
    """The contract between a converter and the build. Instances are small, picklable and hold options only."""

    @property
    def name(self) -> str:
        """Key of the source: ``[a-z0-9-]+``."""

    @property
    def version(self) -> int:
        """Raised whenever the converter's output changes; a new version rebuilds the source's shards."""

    @property
    def sensor(self) -> Sensor: ...

    @property
    def licence(self) -> str:
        """Key of the licence, ``unknown`` where none is stated."""

    @property
    def tasks(self) -> Sequence[TaskName]:
        """The tasks that every image of the source is annotated for, with the options at hand."""

    @property
    def splits(self) -> Sequence[str]: ...

    @property
    def categories(self) -> Sequence[str]:
        """Unified category names that objects or labels can have (empty for caption-only sources)."""

    @property
    def tiling(self) -> Tiling | None:
        """How scenes are cut, None where images are stored whole."""

    @property
    def bands(self) -> BandSelection | None:
        """Which bands are stored, None where files have one grey or three colour bands (the usual case)."""

    def discover(self, root: Path, split: str) -> Discovery:
        """List the split's items. Cheap, sorted, never opens an image.

        Raises:
            mmrs.errors.UserError: the layout is not there; names what was found, what was expected, what to type next.
        """
        ...

    def read(self, item: Item) -> Annotations:
        """Parse one image's annotation.

        Raises:
            mmrs.errors.BadItem: the annotation cannot be used.
        """
        ...

    def options(self) -> dict[str, Any]:
        """Plain values of every option that changes the output (part of the shards' task digest)."""
        ...


@runtime_checkable
class BlockReader(Protocol):
    """What a `Source` may have: it reads several items faster together than one by one, with equal results."""

    def read_block(self, items: Sequence[Item]) -> list[Annotations | BadItem]:
        """As `read_block` of this module, which asks for it."""
        ...


def read_block(source: Source, items: Sequence[Item]) -> list[Annotations | BadItem]:
    """The annotation of each item, or why it cannot be used."""
    if isinstance(source, BlockReader):
        return source.read_block(items)
    return [read_or_fault(source.read, item) for item in items]


def read_or_fault(read: Callable[[Item], T], item: Item) -> T | BadItem:
    """``read(item)``, or why it cannot be used: a file that vanished, cannot be read or is nested too deeply costs this
    item alone."""
    try:
        return read(item)
    except BadItem as error:
        return error
    except OSError as error:
        file = str(error.filename) if error.filename is not None else None
        return BadItem(f"annotation cannot be read: {error.strerror or error}", file)
    except RecursionError:
        return BadItem("annotation's values are nested too deeply")


@dataclass(frozen=True, slots=True)
class SourceBuild:
    """One source as a recipe asks for it. `train_splits` are meant to be trained on, all others are evaluated on.

    `other_splits` are those that the source may have at `root` besides, and that are not asked for. `asked_as` is the
    name of the source on the command line, with the words of the options that it was asked for. `follow_links` allows
    links that lead out of `root`.
    """

    source: Source
    root: Path
    splits: tuple[str, ...]
    limit: int | None = None
    tasks: frozenset[str] | None = None
    train_splits: tuple[str, ...] = ("train",)
    other_splits: tuple[str, ...] = ()
    asked_as: tuple[str, ...] = ()
    follow_links: bool = False

    @property
    def scan_command(self) -> str:
        """The command that shows what of the source is there."""
        name, *options = self.asked_as or (self.source.name,)
        return shlex.join(["mmrs", "scan", name, str(self.root), *options])


def without_strange_names(found: Discovery, root: Path) -> Discovery:
    """A discovery whose items have names that a list, a terminal and UTF-8 can hold; a problem for each other one."""
    strange = [item for item in found.items if not _is_plain(item, root)]
    if not strange:
        return found
    lost = {item.stem for item in strange}
    problems = [(str(item.image), "the file's name has characters that are not shown; rename it") for item in strange]
    kept = tuple(item for item in found.items if item.stem not in lost)
    return replace(found, items=kept, problems=(*found.problems, *problems))


def _is_plain(item: Item, root: Path) -> bool:
    # All that is written of an item: its stem, and its files below the root.
    words = [item.stem, *map(str, item.images), *map(str, item.annotations)]
    if all(map(str.isprintable, words)):
        return True
    start = f"{root}/"
    return all(harmless_name(word.removeprefix(start)) == word.removeprefix(start) for word in words)


def ensure_unique_stems(items: Iterable[Item]) -> tuple[tuple[Item, ...], tuple[tuple[str, str], ...]]:
    """Items with stems of their own, sorted by stem, and a problem (path, reason) for each that was left out.

    Two images that differ in their suffix (``a.bmp``, ``a.png``) are two samples and get it as the end of their stems;
    all other stems stay what they are. Of items that still share a stem the first is kept.
    """
    given = list(items)
    images: dict[str, set[Path | RowImage]] = {}
    for item in given:
        images.setdefault(item.stem, set()).add(item.image)
    stems = [item.stem + item.image.suffix if len(images[item.stem]) > 1 else item.stem for item in given]
    seen: dict[str, Item] = {}
    problems = []
    for item, stem in zip(given, stems, strict=True):
        if stem in seen:
            problems.append((str(item.image), f"stem {stem!r} is already used by {seen[stem].image}"))
        else:
            seen[stem] = item if stem == item.stem else replace(item, stem=stem)
    return tuple(seen[stem] for stem in sorted(seen)), tuple(problems)
