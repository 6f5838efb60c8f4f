"""What is looked for in an ingested release besides its counts: one small check per finding.

A check sees every file, then its rows in order, and last the release as a whole; it gives a note for each thing found.
What a check keeps from row to row is names and digests alone: an audit never holds the rows.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from mmrs.release.names import normal_path, place_of_file, place_of_image
from mmrs.release.store import Release, StoredFile

# What was found, and how many times at once.
Note = tuple[str, int]


@dataclass(frozen=True, slots=True)
class AuditedRow:
    """A stored row. `image` is its path in the archive, "" where it names none; `pairs` as in `store.ROWS_SCHEMA`."""

    file: StoredFile
    image: str
    names_image: bool
    source: str | None
    problem: str | None
    is_tile: bool
    is_square: bool
    pairs: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, file: StoredFile, line: dict[str, Any]) -> AuditedRow:
        """A line of `mmrs.release.store.stored_rows`."""
        return cls(
            file=file,
            image=normal_path(line["image"] or ""),
            names_image=line["image"] is not None,
            source=line["source"],
            problem=line["problem"],
            is_tile=line["tile"] is not None,
            is_square=line["width"] is None or line["width"] == line["height"],
            pairs=tuple(line["pairs"] or ()),
        )

    @property
    def family(self) -> str:
        return self.file.family or "unknown"

    def boxes(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(task, group) of every group of boxes in its pairs."""
        for pair in self.pairs:
            for group in pair["groups"] or ():
                yield pair["task"], group


class ReleaseCheck:
    """One finding, `what`, as it is looked for. Each of the three gives notes; most checks need one of them."""

    what: ClassVar[str]

    def of_file(self, file: StoredFile) -> Iterator[Note]:
        """What a file itself shows."""
        yield from ()

    def of_row(self, row: AuditedRow) -> Iterator[Note]:
        """What a row shows."""
        yield from ()

    def of_release(self, release: Release, image_paths: set[str]) -> Iterator[Note]:
        """What shows when every row has been seen; `image_paths` are the image files of the archive."""
        yield from ()


class _NoArray(ReleaseCheck):
    what = "JSON files that are no array"

    def of_file(self, file: StoredFile) -> Iterator[Note]:
        if file.problem is not None:
            yield f"{file.path}: {file.problem}", 1


class _RowProblem(ReleaseCheck):
    what = "rows with a problem"

    def of_row(self, row: AuditedRow) -> Iterator[Note]:
        if row.problem is not None:
            yield f"{row.file.path}: {row.image or '?'}: {row.problem}", 1


class _UnknownSource(ReleaseCheck):
    what = "rows in a folder of no known source"

    def of_row(self, row: AuditedRow) -> Iterator[Note]:
        if row.names_image and row.source is None:
            yield f"{row.file.path}: {row.image}", 1


class _Tile(ReleaseCheck):
    what = "rows whose image is a tile"

    def of_row(self, row: AuditedRow) -> Iterator[Note]:
        if row.is_tile:
            yield row.image, 1


class _PaddedSquare(ReleaseCheck):
    what = "rows with boxes in a padded square that is not the image"

    def of_row(self, row: AuditedRow) -> Iterator[Note]:
        if not row.is_square and any(pair["groups"] for pair in row.pairs):
            yield row.image, 1


class RepeatedReferences(ReleaseCheck):
    """A caption that an image has twice."""

    what = "repeated references in a caption row"

    def of_row(self, row: AuditedRow) -> Iterator[Note]:
        if row.family == "caption":
            for text, times in Counter(pair["answer"] for pair in row.pairs).items():
                if times > 1:
                    yield f"{row.image}: {text}", times - 1


class RepeatedQuestions(ReleaseCheck):
    """A question that is asked of an image again, with the same answer."""

    what = "repeated vqa pairs"

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def of_row(self, row: AuditedRow) -> Iterator[Note]:
        for pair in row.pairs if row.family == "vqa" else ():
            content = "\0".join((row.image, pair["prompt"], pair["answer"])).encode()
            # A digest of 16 bytes per pair keeps the set small for all of the archive.
            digest = hashlib.blake2b(content, digest_size=16).digest()
            if digest in self._seen:
                yield f"{row.image}: {pair['prompt']} {pair['answer']}", 1
            self._seen.add(digest)


class _BoxWithoutArea(ReleaseCheck):
    what = "boxes without area"

    def of_row(self, row: AuditedRow) -> Iterator[Note]:
        for _, group in row.boxes():
            if group["degenerate"]:
                yield f"{row.image}: {group['name']}", group["degenerate"]


class _UnreadableBox(ReleaseCheck):
    what = "pieces of an answer that are no box"

    def of_row(self, row: AuditedRow) -> Iterator[Note]:
        for _, group in row.boxes():
            if group["unreadable"]:
                yield f"{row.image}: {group['name']}", group["unreadable"]


class _WrongCount(ReleaseCheck):
    what = "counts that are not the number of boxes"

    def of_row(self, row: AuditedRow) -> Iterator[Note]:
        for _, group in row.boxes():
            if group["count"] is not None and group["count"] != len(group["numbers"]):
                yield f"{row.image}: says {group['count']} {group['name']}, has {len(group['numbers'])} boxes", 1


class _Misspelt(ReleaseCheck):
    what = "misspelt names"

    def __init__(self) -> None:
        self._names: set[str] = set()

    def of_file(self, file: StoredFile) -> Iterator[Note]:
        self._names.update(filter(None, [place_of_file(file.path).misspelt]))
        yield from ()

    def of_row(self, row: AuditedRow) -> Iterator[Note]:
        self._names.update(filter(None, [place_of_image(row.image).misspelt]))
        yield from ()

    def of_release(self, release: Release, image_paths: set[str]) -> Iterator[Note]:
        for name in sorted(self._names):
            yield name, 1


class _LeftOut(ReleaseCheck):
    what = "aggregate files left out"

    def of_release(self, release: Release, image_paths: set[str]) -> Iterator[Note]:
        for file in release.ignored:
            yield f"{file.path}: {file.reason}", 1


class _MissingImage(ReleaseCheck):
    what = "images named by a row but not in the archive"

    def __init__(self) -> None:
        self._named: set[str] = set()

    def of_row(self, row: AuditedRow) -> Iterator[Note]:
        self._named.add(row.image)
        yield from ()

    def of_release(self, release: Release, image_paths: set[str]) -> Iterator[Note]:
        # A release of JSON files alone has no images to compare with.
        for image in sorted(self._named - image_paths) if release.images else ():
            yield image, 1


CHECKS: tuple[type[ReleaseCheck], ...] = (
    _NoArray,
    _RowProblem,
    _UnknownSource,
    _Tile,
    _PaddedSquare,
    RepeatedReferences,
    RepeatedQuestions,
    _BoxWithoutArea,
    _UnreadableBox,
    _WrongCount,
    _Misspelt,
    _LeftOut,
    _MissingImage,
)
