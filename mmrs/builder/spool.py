"""Parts of large files: read in the order of the file, handed out in that of the shard, held on disk in between.

Tiles of scenes are held as they are encoded, images in rows of tables as the table has them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import IO, Literal

from mmrs.builder.plan import PlannedSample
from mmrs.errors import BadItem
from mmrs.imaging.row_images import read_row_images
from mmrs.imaging.store import StoredImage, encode_pixels
from mmrs.imaging.windows import read_rendered_windows
from mmrs.source import RowImage, Source
from mmrs.storage.atomic import TEMPORARY_MARK


@dataclass
class TileSpool:
    """Encoded tiles by stem, their bytes in an unnamed temporary file: a 20,000 px scene has a gigabyte of them."""

    file: IO[bytes]
    places: dict[str, tuple[int, int, StoredImage] | BadItem] = field(default_factory=dict)

    def add(self, stem: str, image: StoredImage) -> None:
        """Keep one encoded tile."""
        start = self.file.seek(0, 2)
        self.file.write(image.data)
        self.places[stem] = (start, len(image.data), replace(image, data=b""))

    def image(self, stem: str) -> StoredImage:
        """The tile of that stem. Raises the `BadItem` of its scene where that could not be cut."""
        place = self.places[stem]
        if isinstance(place, BadItem):
            raise place
        start, length, image = place
        self.file.seek(start)
        return replace(image, data=self.file.read(length))


@dataclass
class RowSpool:
    """Images in rows of tables, as they stand there, in an unnamed temporary file."""

    file: IO[bytes]
    places: dict[RowImage, tuple[int, int] | BadItem] = field(default_factory=dict)

    def add(self, image: RowImage, content: bytes | BadItem) -> None:
        """Keep one image, or why it cannot be read."""
        if isinstance(content, BadItem):
            self.places[image] = content
            return
        start = self.file.seek(0, 2)
        self.file.write(content)
        self.places[image] = (start, len(content))

    def content(self, image: Path | RowImage) -> bytes | None:
        """The bytes of a row, None for a file. Raises the `BadItem` of a row that cannot be read."""
        if isinstance(image, Path):
            return None
        place = self.places[image]
        if isinstance(place, BadItem):
            raise place
        self.file.seek(place[0])
        return self.file.read(place[1])


@contextmanager
def open_rows(samples: Sequence[PlannedSample], folder: Path) -> Iterator[RowSpool]:
    """Read every row of a table among `samples`, each table once; the temporary file lies in `folder`."""
    images = list(dict.fromkeys(image for s in samples for image in s.item.images if isinstance(image, RowImage)))
    with tempfile.TemporaryFile(prefix=TEMPORARY_MARK, dir=folder) as file:
        spool = RowSpool(file)
        for image, content in read_row_images(images):
            spool.add(image, content)
        yield spool


@contextmanager
def open_tiles(
    samples: Sequence[PlannedSample], source: Source, suffix: Literal["jpg", "png"], folder: Path, rows: RowSpool
) -> Iterator[TileSpool]:
    """Cut and encode every tile among `samples`, reading each scene once; the temporary file lies in `folder`.

    A scene that cannot be read makes all its tiles a `BadItem`.
    """
    with tempfile.TemporaryFile(prefix=TEMPORARY_MARK, dir=folder) as file:
        spool = TileSpool(file)
        tiled = sorted((sample for sample in samples if sample.window is not None), key=_row_order)
        for _, group in groupby(tiled, key=lambda sample: sample.item.stem):
            members = list(group)
            windows = [sample.window for sample in members if sample.window is not None]
            first = members[0]
            orientation = first.probe.orientation
            try:
                content = rows.content(first.item.image)
                tiles = read_rendered_windows(
                    first.item.place, windows, source.sensor, source.bands, orientation, content
                )
                for sample, (pixels, rule) in zip(members, tiles, strict=True):
                    spool.add(sample.stem, encode_pixels(pixels, suffix, "tile of a scene", rule))
            except BadItem as error:
                spool.places.update({sample.stem: error for sample in members})
        yield spool


def _row_order(sample: PlannedSample) -> tuple[str, int, int]:
    window = sample.window
    return (sample.item.stem, 0, 0) if window is None else (sample.item.stem, window.y, window.x)
