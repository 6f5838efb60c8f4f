"""The contract of an export format: samples of one split in, the split's files out, and what was left out counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from mmrs.data_set.sample import Sample
from mmrs.errors import RunFailure
from mmrs.record import AnnotatedObject

# Of objects whose source has no horizontal box: left out, or the extent of their quad in its place.
ObbRule = Literal["refuse", "envelope"]
NO_HORIZONTAL_BOX = "oriented objects without a horizontal box (--obb envelope writes their extents)"
IGNORED = "objects that count as nothing (crowds, ignored regions)"


@dataclass(frozen=True, slots=True)
class ExportTarget:
    """Where and how a split is written.

    Args:
        folder: of the whole export.
        split: of the data set.
        categories: of all chosen sources, sorted; their positions are the class numbers of every split.
        obb: what becomes of oriented objects where the format has horizontal boxes alone.
    """

    folder: Path
    split: str
    categories: tuple[str, ...]
    obb: ObbRule = "refuse"


@dataclass
class ExportCounts:
    """What a split holds as it was written; `left_out` by reason."""

    images: int = 0
    objects: int = 0
    dialogues: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """One format.

    Args:
        name: what ``--format`` takes.
        summary: in a sentence, which files it writes.
        frame: of its boxes, with the rounding, for the README of an export.
        write: consumes (sample, image path relative to the export) of a split, each once, and writes its files.
        finish: writes what all splits share, from the names of the splits.
    """

    name: str
    summary: str
    frame: str
    write: Callable[[Iterable[tuple[Sample, PurePosixPath]], ExportTarget], ExportCounts]
    finish: Callable[[Path, tuple[str, ...], tuple[str, ...]], None] | None = None


def image_path(sample: Sample) -> PurePosixPath:
    """Where the image of a sample lies in an export: ``images/<split>/<source>/<stem>.jpg``.

    Raises:
        RunFailure: its id leads out of that folder, which no id of a build does.
    """
    source, split, stem = sample.id.split("/", 2)
    parts = (split, source, *stem.split("/"))
    if any(part in ("", ".", "..") or "\0" in part or "\\" in part for part in parts):
        raise RunFailure(f"{sample.location}: the id {sample.id!r} is no place for a file; nothing was exported.")
    suffix = ".png" if sample.image_bytes.startswith(b"\x89PNG") else ".jpg"
    return PurePosixPath("images", *parts[:-1], parts[-1] + suffix)


def label_path(image: PurePosixPath, suffix: str) -> PurePosixPath:
    """The label file of an image: ``labels`` in the place of ``images``."""
    return PurePosixPath("labels", *image.parts[1:]).with_name(image.name.rpartition(".")[0] + suffix)


def horizontal_box(thing: AnnotatedObject, obb: ObbRule) -> tuple[float, float, float, float] | None:
    """xmin, ymin, xmax, ymax in pixels, or None where the source has no such box and none may take its place."""
    return thing.extent() if thing.hbb is not None or obb == "envelope" else None
