"""A small finished data set, written with the public parts of `mmrs.shards` alone."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mmrs.record import Dialogue, ImageInfo, Record, Turn
from mmrs.shards.index import write_index
from mmrs.shards.manifest import MANIFEST_NAME, Manifest, ShardEntry, SourceEntry, SplitCounts
from mmrs.shards.tar import TarWriter, image_member

COLOURS = {"red": (200, 30, 30), "green": (30, 180, 40), "blue": (30, 40, 200), "white": (240, 240, 240)}


def make_record(
    source: str, number: int, data: bytes, size: tuple[int, int], dialogues: int, further: Sequence[bytes] = ()
) -> Record:
    """Record of one image with `dialogues` dialogues of different tasks and lengths; `further` images are as large."""
    colour = list(COLOURS)[number % len(COLOURS)]
    texts = [
        ("classification", "What is the colour?", colour),
        (
            "captioning",
            "Describe the image.",
            f"A {colour} square of sample {number} " + "on grey ground " * (number % 4),
        ),
        ("detection-hbb", f"Find the {colour} square.", f"[0.{number % 10}0, 0.20, 0.60, 0.70]"),
    ]
    chosen = [texts[(number + place) % 3] for place in range(dialogues)]
    return Record(
        id=f"{source}/train/{number:05d}",
        source=source,
        split="train",
        sensor="optical",
        image=ImageInfo(width=size[0], height=size[1], mode="RGB", sha256=hashlib.sha256(data).hexdigest()),
        further_images=tuple(
            ImageInfo(width=size[0], height=size[1], mode="RGB", sha256=hashlib.sha256(other).hexdigest())
            for other in further
        ),
        label=colour,
        licence="cc-by-4.0",
        dialogues=tuple(
            Dialogue(task=task, turns=(Turn(sender="human", value=question), Turn(sender="gpt", value=answer)))
            for task, question, answer in chosen
        ),
    )


def make_image(number: int, size: tuple[int, int]) -> bytes:
    """JPEG of a coloured square on grey noise."""
    noise = np.random.default_rng(number).integers(90, 120, (size[1], size[0], 3), dtype=np.uint8)
    noise[10:30, 10:30] = list(COLOURS.values())[number % len(COLOURS)]
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", quality=90)
    return file.getvalue()


def write_shard(
    folder: Path, source: str, number: int, of: int, records: Sequence[tuple[Record, Sequence[bytes]]]
) -> ShardEntry:
    """One tar with its index."""
    name = f"{source}/train-{number:05d}-of-{of:05d}.tar"
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    with path.open("wb") as file:
        writer = TarWriter(file)
        for record, images in records:
            key = record.id.replace("/", "_")
            image, *further = (writer.add(image_member(key, n, "jpg"), data) for n, data in enumerate(images))
            json = writer.add(f"{key}.json", record.to_json())
            rows.append(
                {
                    "key": key,
                    "id": record.id,
                    "image_offset": image.offset,
                    "image_size": image.size,
                    "record_offset": json.offset,
                    "record_size": json.size,
                    "width": record.image.width,
                    "height": record.image.height,
                    "scene": None,
                    "label": record.label,
                    "categories": [],
                    "objects": 0,
                    "ignored_objects": 0,
                    "captions": 0,
                    "dialogue_tasks": [dialogue.task for dialogue in record.dialogues],
                    "dialogue_chars": [sum(len(turn.value) for turn in d.turns) for d in record.dialogues],
                    "perceptual_hash": None,
                    "reencoded": None,
                    "sha256": record.image.sha256,
                    "further_offset": [one.offset for one in further],
                    "further_size": [one.size for one in further],
                    "further_sha256": [one.sha256 for one in record.further_images],
                    "further_hash": None,
                }
            )
        digest = writer.finish()
        size = writer.bytes_written
    index = io.BytesIO()
    write_index(index, rows)
    path.with_suffix(".parquet").write_bytes(index.getvalue())
    return ShardEntry(
        source=source, split="train", path=name, records=len(records), bytes=size, sha256=digest,
        index_bytes=len(index.getvalue()), index_sha256=hashlib.sha256(index.getvalue()).hexdigest(),
    )  # fmt: skip


def make_shard_folder(
    folder: Path, samples: int = 24, shards: int = 3, source: str = "toy", broken: Sequence[int] = (), images: int = 1
) -> Path:
    """A data set of `samples` images with one to three dialogues each; images numbered in `broken` do not decode.

    With `images` 2, every other sample has two of them; with 3, every third one, and so on.
    """
    pairs = []
    for number in range(samples):
        size = (48 + number % 3 * 8, 48)
        data = make_image(number, size)
        data = data[:200] if number in broken else data
        further = [make_image(1000 * place + number, size) for place in range(1, 1 + number % images)]
        record = make_record(source, number, data, size, 1 + number % 3, further)
        pairs.append((record, [data, *further]))
    entries = tuple(write_shard(folder, source, n, shards, pairs[n::shards]) for n in range(shards))
    entry = SourceEntry(
        sensor="optical", licence="cc-by-4.0", tasks=("classification",), categories=(), converter_version=1,
        image_suffix={"train": "jpg"}, options={}, splits={"train": SplitCounts(records=samples)},
    )  # fmt: skip
    manifest = Manifest(
        tool_version="0", recipe_digest="0", sources={source: entry}, shards=entries, quarantine_sha256="0"
    ).with_id()
    (folder / MANIFEST_NAME).write_bytes(manifest.to_json())
    return folder
