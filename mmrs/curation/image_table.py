"""The rows of a data set's indexes that curation works on, as columns, and the stored images behind them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from mmrs.engines.base import Engine
from mmrs.errors import RunFailure
from mmrs.imaging.hashing import FINGERPRINT_BYTES, FLAT, HASH_BYTES, MIN_SIDE, fingerprint, reduced_size
from mmrs.imaging.probe import in_mode, open_stored
from mmrs.progress import Progress
from mmrs.record import Record
from mmrs.shards.index import IMAGE_PLACES, image_places
from mmrs.shards.reader import OneShard
from mmrs.shards.several import NumberedShards

# How the build names the tiles of a scene: `<scene>__<x>___<y>`.
_TILE = re.compile(r"(?P<scene>.+)__\d+___\d+")
_PLACES = ("image_offset", "image_size", "record_offset", "record_size")
_COLUMNS = ("id", "sha256", "label", "captions", *_PLACES)
_FURTHER = ("further_offset", "further_size", "further_sha256", "further_hash")


@dataclass(frozen=True)
class Rows:
    """N images in the order of their shards, those of one sample after each other; every column has N entries.

    `number` is an image's place in its sample, from 0; `shard` numbers the shards that they were read from;
    `fingerprints` is ``(N, 64)`` uint8 (`mmrs.imaging.hashing.fingerprint`).
    """

    ids: tuple[str, ...]
    sha256: tuple[str, ...]
    labels: tuple[str | None, ...]
    captions: npt.NDArray[np.int32]
    shard: npt.NDArray[np.int32]
    image_offset: npt.NDArray[np.int64]
    image_size: npt.NDArray[np.int64]
    record_offset: npt.NDArray[np.int64]
    record_size: npt.NDArray[np.int64]
    fingerprints: npt.NDArray[np.uint8]
    number: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, shards: NumberedShards, row: int) -> bytes:
        """The stored image bytes of a row."""
        return shards.read(int(self.shard[row]), int(self.image_offset[row]), int(self.image_size[row]))

    def record(self, shards: NumberedShards, row: int) -> Record:
        """The record of a row."""
        data = shards.read(int(self.shard[row]), int(self.record_offset[row]), int(self.record_size[row]))
        return Record.from_json(data)

    def source(self, row: int) -> str:
        return self.ids[row].split("/", 1)[0]

    def split(self, row: int) -> str:
        return self.ids[row].split("/", 2)[1]

    def scene(self, row: int) -> str | None:
        """The scene that a tile was cut from; None for a whole image."""
        match = _TILE.fullmatch(self.ids[row].split("/", 2)[2])
        return match["scene"] if match else None

    def stem(self, row: int) -> str:
        """Last part of the id, of a tile its scene's."""
        return self.scene(row) or self.ids[row].split("/", 2)[2]

    def first_images(self) -> Rows:
        """The rows of the first images: one of each sample."""
        kept = np.flatnonzero(self.number == 0)
        columns: dict[str, Any] = {
            name: tuple(values[row] for row in kept.tolist()) if isinstance(values, tuple) else values[kept]
            for name, values in vars(self).items()
        }
        return Rows(**columns)

    @property
    def flat(self) -> npt.NDArray[np.bool_]:
        """``(N,)``: images that are too flat to have a fingerprint."""
        return np.count_nonzero(self.fingerprints, axis=1) == 0

    def hashes(self, centre: bool = False) -> npt.NDArray[np.uint64]:
        """``(N, 4)`` uint64 hashes of the whole images, or of their centres."""
        part = self.fingerprints[:, HASH_BYTES:] if centre else self.fingerprints[:, :HASH_BYTES]
        return np.ascontiguousarray(part).view(np.uint64)


def load_rows(shards: NumberedShards, engine: Engine, progress: Progress) -> Rows:
    """Read the indexes of all shards; fingerprints that an index lacks (built with L0) are made from the images.

    Raises:
        UserError: the folder is no finished data set.
        RunFailure: a stored image cannot be decoded.
    """
    shards.fetch_indexes()
    tables = []
    missing = []
    for number in range(len(shards.entries)):
        table = shards.index(number, [*_COLUMNS, "perceptual_hash", *_FURTHER])
        if table["perceptual_hash"].null_count or table["further_hash"].null_count:
            missing.append(number)
        tables.append(_by_image(table, number))
    table = pa.concat_tables(tables).combine_chunks()
    columns = {name: table[name].to_numpy() for name in ("shard", "captions", "number", *_PLACES)}
    values = np.frombuffer(b"".join(table["fingerprint"].to_pylist()), np.uint8).reshape(-1, FINGERPRINT_BYTES).copy()
    _fill(values, columns["shard"], missing, shards, engine, progress)
    return Rows(
        ids=tuple(table["id"].to_pylist()),
        sha256=tuple(table["sha256"].to_pylist()),
        labels=tuple(table["label"].to_pylist()),
        fingerprints=values,
        **columns,
    )


def _by_image(table: pa.Table, shard: int) -> pa.Table:
    """A row an image of the samples of a shard, flat where a fingerprint is not known."""
    images = 1 + pc.list_value_length(table["further_size"]).to_numpy().astype(np.int64)
    rows = np.repeat(np.arange(len(table)), images)
    number = np.arange(len(rows)) - np.repeat(np.cumsum(images) - images, images)
    fingerprints = _fingerprints(table, images)
    taken = table.select(_COLUMNS)
    if len(rows) > len(table):
        taken = taken.take(pa.array(rows))
        for name, further in zip(("image_offset", "image_size", "sha256"), _FURTHER, strict=False):
            lists = zip(table[name].to_pylist(), table[further].to_pylist(), strict=True)
            values = [value for first, others in lists for value in (first, *others)]
            place = taken.schema.get_field_index(name)
            field = taken.schema.field(place)
            taken = taken.set_column(place, field, pa.array(values, field.type))
    taken = taken.append_column("shard", pa.array([shard] * len(rows), pa.int32()))
    taken = taken.append_column("number", pa.array(number, pa.int32()))
    return taken.append_column("fingerprint", pa.array(fingerprints, pa.binary(FINGERPRINT_BYTES)))


def _fingerprints(table: pa.Table, images: npt.NDArray[np.int64]) -> list[bytes]:
    if table["perceptual_hash"].null_count or table["further_hash"].null_count:
        return [FLAT] * int(images.sum())
    if images.max(initial=1) == 1:
        return table["perceptual_hash"].to_pylist()
    pairs = zip(table["perceptual_hash"].to_pylist(), table["further_hash"].to_pylist(), strict=True)
    return [value for first, others in pairs for value in (first, *others)]


def _fill(
    values: npt.NDArray[np.uint8],
    shard: npt.NDArray[np.int32],
    missing: list[int],
    shards: NumberedShards,
    engine: Engine,
    progress: Progress,
) -> None:
    tasks = [shards.one(number) for number in missing]
    if not tasks:
        return
    run = engine.run(_shard_fingerprints, tasks, lambda task: task.entry.path, progress.note)
    with progress.stage("fingerprints", sum(task.entry.records for task in tasks), "images") as advance:
        for position, made in run:
            values[shard == missing[position]] = np.frombuffer(made, np.uint8).reshape(-1, FINGERPRINT_BYTES)
            advance(len(made) // FINGERPRINT_BYTES)


def _shard_fingerprints(shard: OneShard) -> bytes:
    made = []
    with shard.opened() as read:
        for row in shard.index(["id", *IMAGE_PLACES]).to_pylist():
            images = (read(*place) for place in image_places(row))
            made += [fingerprint(open_reduced(data, "L", MIN_SIDE, row["id"])) for data in images]
    return b"".join(made)


def open_reduced(data: bytes, mode: Literal["L", "RGB"], least_side: int, name: str) -> Image.Image:
    """Decode a stored image to `mode`; a JPEG at a reduced scale that leaves `least_side` pixels on each side.

    Raises:
        RunFailure: the bytes are no image that the build could have stored.
    """
    try:
        with open_stored(data) as image:
            image.draft(mode, reduced_size(*image.size, least_side))
            return in_mode(image, mode)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RunFailure(
            f"image of {name} cannot be decoded: {error}. `mmrs verify` of the data set names all such."
        ) from error
