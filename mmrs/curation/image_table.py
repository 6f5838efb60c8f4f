"""The rows of a data set's indexes that curation works on, as columns, and the stored images behind them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from mmrs.engines.processes import run_tasks
from mmrs.errors import RunFailure
from mmrs.imaging.hashing import FINGERPRINT_BYTES, FLAT, HASH_BYTES, MIN_SIDE, fingerprint, reduced_size
from mmrs.imaging.probe import in_mode, open_stored
from mmrs.progress import Progress
from mmrs.record import Record
from mmrs.shards.reader import ShardSet

# How the build names the tiles of a scene: `<scene>__<x>___<y>`.
_TILE = re.compile(r"(?P<scene>.+)__\d+___\d+")
_PLACES = ("image_offset", "image_size", "record_offset", "record_size")
_COLUMNS = ("id", "sha256", "label", "captions", *_PLACES)


@dataclass(frozen=True)
class Rows:
    """N images of a data set in manifest order; every column has N entries.

    `shard` numbers ``manifest.shards``; `fingerprints` is ``(N, 64)`` uint8 (`mmrs.imaging.hashing.fingerprint`).
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

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, shards: ShardSet, row: int) -> bytes:
        """The stored image bytes of a row."""
        return shards.read(int(self.shard[row]), int(self.image_offset[row]), int(self.image_size[row]))

    def record(self, shards: ShardSet, row: int) -> Record:
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

    @property
    def flat(self) -> npt.NDArray[np.bool_]:
        """``(N,)``: images that are too flat to have a fingerprint."""
        return np.count_nonzero(self.fingerprints, axis=1) == 0

    def hashes(self, centre: bool = False) -> npt.NDArray[np.uint64]:
        """``(N, 4)`` uint64 hashes of the whole images, or of their centres."""
        part = self.fingerprints[:, HASH_BYTES:] if centre else self.fingerprints[:, :HASH_BYTES]
        return np.ascontiguousarray(part).view(np.uint64)


def load_rows(shards: ShardSet, workers: int, progress: Progress) -> Rows:
    """Read the indexes of all shards; fingerprints that an index lacks (built with L0) are made from the images.

    Raises:
        UserError: the folder is no finished data set.
        RunFailure: a stored image cannot be decoded.
    """
    shards.index_files()
    tables = []
    missing = []
    for number in range(len(shards.manifest.shards)):
        table = shards.index(number)
        known = table["perceptual_hash"].null_count == 0
        fingerprints = table["perceptual_hash"].to_pylist() if known else [FLAT] * len(table)
        if not known:
            missing.append(number)
        table = table.select(_COLUMNS).append_column("shard", pa.array([number] * len(table), pa.int32()))
        tables.append(table.append_column("fingerprint", pa.array(fingerprints, pa.binary(FINGERPRINT_BYTES))))
    table = pa.concat_tables(tables).combine_chunks()
    columns = {name: table[name].to_numpy() for name in ("shard", "captions", *_PLACES)}
    values = np.frombuffer(b"".join(table["fingerprint"].to_pylist()), np.uint8).reshape(-1, FINGERPRINT_BYTES).copy()
    _fill(values, columns["shard"], missing, shards, workers, progress)
    return Rows(
        ids=tuple(table["id"].to_pylist()),
        sha256=tuple(table["sha256"].to_pylist()),
        labels=tuple(table["label"].to_pylist()),
        fingerprints=values,
        **columns,
    )


def _fill(
    values: npt.NDArray[np.uint8],
    shard: npt.NDArray[np.int32],
    missing: list[int],
    shards: ShardSet,
    workers: int,
    progress: Progress,
) -> None:
    total = sum(shards.manifest.shards[number].records for number in missing)
    if not total:
        return
    with progress.stage("fingerprints", total, "images") as advance:
        for position, made in run_tasks(partial(_shard_fingerprints, shards), missing, workers):
            values[shard == missing[position]] = np.frombuffer(made, np.uint8).reshape(-1, FINGERPRINT_BYTES)
            advance(len(made) // FINGERPRINT_BYTES)


def _shard_fingerprints(shards: ShardSet, number: int) -> bytes:
    made = []
    for row in shards.index(number).to_pylist():
        data = shards.read(number, row["image_offset"], row["image_size"])
        made.append(fingerprint(open_reduced(data, "L", MIN_SIDE, row["id"])))
    shards.close()
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
