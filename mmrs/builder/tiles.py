"""The tiles of a shard's scenes: encoded in scene order, handed out in shard order, held on disk in between."""

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
from mmrs.imaging.store import StoredImage, encode_pixels
from mmrs.imaging.windows import read_rendered_windows
from mmrs.source import Source
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


@contextmanager
def open_tiles(
    samples: Sequence[PlannedSample], source: Source, suffix: Literal["jpg", "png"], folder: Path
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
            tiles = read_rendered_windows(first.item.image, windows, source.sensor, source.bands, orientation)
            try:
                for sample, (pixels, rule) in zip(members, tiles, strict=True):
                    spool.add(sample.stem, encode_pixels(pixels, suffix, "tile of a scene", rule))
            except BadItem as error:
                spool.places.update({sample.stem: error for sample in members})
        yield spool


def _row_order(sample: PlannedSample) -> tuple[str, int, int]:
    window = sample.window
    return (sample.item.stem, 0, 0) if window is None else (sample.item.stem, window.y, window.x)
