"""Planning at the size of MMRS-1M: `python -m benchmarks.plan [--samples 1000000] --out RESULT.json`.

Everything that happens between the start of a run and its first batch, each in a fresh process, with peak memory:

- `select`: a data set of as many samples in shards of 1,000 is opened; its indexes are genuine, its tars empty files of
  the right size, since no sample is read;
- `plan`: an epoch is planned from token lengths like those of MMRS-1M, without and with a mixture, and walked through;
- `resume`: from a pointer in the middle of a planned epoch to the first pack reference, on one and on eight ranks;
- `count`: tokens of records are counted, on fewer samples, and the table is read back from the cache;
- `prepare`: on these samples, from a pointer to the first batch of real tensors, in this process and in a worker.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.machine import describe
from benchmarks.trial import in_fresh_process, peak_rss
from mmrs.instructions.prompts import CAPTIONING, CLASSIFICATION
from mmrs.record import Dialogue, ImageInfo, Record, Turn
from mmrs.shards.index import write_index
from mmrs.shards.manifest import MANIFEST_NAME, Manifest, ShardEntry, SourceEntry, SplitCounts
from mmrs.shards.tar import TarWriter
from training.data.loader import PackDataset, PackSampler, pack_loader
from training.data.planning.lengths import length_table, tokenizer_digest
from training.data.planning.mixture import mixture_text
from training.data.planning.plan import Lengths, PlanSettings, epoch_plan
from training.data.planning.selection import Selection, select
from training.data.planning.sequence import PackSequence
from training.model import EarthGPTImageProcessor, EarthGPTProcessor, train_tokenizer

PER_SHARD = 1000
RECORDS = 4000
IMAGE_SIDE = 448
IMAGE_SLOTS = 258
TASKS = ("captioning", "classification", "detection-hbb", "vqa")
SETTINGS = PlanSettings("d" * 64, "t" * 16, 0, 4096, IMAGE_SLOTS + 1, 4096, 256, 64, 4096)


def main() -> None:
    """Measure and write one JSON file; or, with `--one`, a single measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", choices=list(MEASUREMENTS))
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(MEASUREMENTS[given.one](given.samples, given.folder)))
        return
    result: dict[str, Any] = {"date": date.today().isoformat(), "machine": describe(), "samples": given.samples}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_indexes(folder / "indexes", given.samples)
        write_records(folder / "records", RECORDS)
        for one in MEASUREMENTS:
            words = ["--one", one, "--samples", given.samples, "--folder", folder]
            runs = [in_fresh_process("benchmarks.plan", words) for _ in range(given.repetitions)]
            result[one] = {key: [run[key] for run in runs] for key in runs[0]}
            print(one, json.dumps(result[one]), flush=True)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=2) + "\n")


def measure_select(samples: int, folder: Path) -> dict[str, Any]:
    seconds, selection = timed(lambda: select([folder / "indexes"], ["train"]))
    assert len(selection) == samples
    return {"seconds": seconds, "peak_rss_bytes": peak_rss(), "dialogues": len(selection.dialogue_row)}


def measure_plan(samples: int, folder: Path) -> dict[str, Any]:
    lengths = make_lengths(samples)
    before = peak_rss()
    seconds, plan = timed(lambda: epoch_plan(lengths, SETTINGS, 0))
    walk_s, _ = timed(lambda: [plan.pack(number) for number in range(len(plan))])
    passes = [Fraction(1, 2), Fraction(3, 2), Fraction(1), Fraction(1)]
    mixed = replace(SETTINGS, mixture=mixture_text(TASKS, passes))
    mixed_s, mixed_plan = timed(lambda: epoch_plan(lengths, mixed, 0))
    return {
        "seconds": seconds,
        "packs": len(plan),
        "padding_share": 1 - int(plan.pack_tokens.sum()) / (len(plan) * SETTINGS.tokens_per_pack),
        "walk_microseconds_per_pack": 1e6 * walk_s / len(plan),
        "with_mixture_seconds": mixed_s,
        "with_mixture_packs": len(mixed_plan),
        "before_rss_bytes": before,
        "peak_rss_bytes": peak_rss(),
    }


def measure_resume(samples: int, folder: Path) -> dict[str, Any]:
    stream = PackSequence(make_lengths(samples), SETTINGS)
    pointer = stream.advance(stream.start(), len(stream.plan(0)) // 2)
    found = {}
    for ranks in (1, 8):
        sampler = PackSampler(stream, pointer, 10, 8, ranks - 1, ranks)
        found[f"{ranks}_ranks_seconds"] = timed(lambda sampler=sampler: next(iter(sampler)))[0]
    found["check_seconds"] = timed(lambda: stream.check(pointer))[0]
    return found


def measure_count(samples: int, folder: Path) -> dict[str, Any]:
    selection, processor = select([folder / "records"], ["train"]), make_processor()
    digest = tokenizer_digest(processor)
    with tempfile.TemporaryDirectory() as cache:
        count_s, _ = timed(lambda: length_table(selection, processor, digest, Path(cache)))
        read_s, _ = timed(lambda: length_table(selection, processor, digest, Path(cache)))
    dialogues = len(selection.dialogue_row)
    return {"samples": len(selection), "dialogues_per_second": dialogues / count_s, "from_cache_seconds": read_s}


def measure_prepare(samples: int, folder: Path) -> dict[str, Any]:
    processor = make_processor()
    with tempfile.TemporaryDirectory() as cache:
        digest = tokenizer_digest(processor)
        length_table(select([folder / "records"], ["train"]), processor, digest, Path(cache))

        def open_stream() -> tuple[Selection, PackSequence]:
            selection = select([folder / "records"], ["train"])
            lengths = length_table(selection, processor, digest, Path(cache))
            stream = PackSequence(lengths, replace(SETTINGS, data_set_id=selection.data_set_id))
            stream.plan(0)
            return selection, stream

        open_s, (selection, stream) = timed(open_stream)
    dataset = PackDataset(selection, stream.lengths, processor, SETTINGS.tokens_per_pack)
    pointer = stream.advance(stream.start(), len(stream.plan(0)) // 2)
    found: dict[str, Any] = {"samples": len(selection), "open_seconds": open_s}
    for workers in (0, 1):
        loader = pack_loader(dataset, PackSampler(stream, pointer, 4, 1), workers)
        first_s, pack = timed(lambda loader=loader: next(iter(loader)))
        found[f"first_batch_{workers}_workers_seconds"] = first_s
        found["images_in_first_batch"] = len(pack.sample_ids)
    return found


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    value = work()
    return time.perf_counter() - started, value


def make_lengths(samples: int) -> Lengths:
    """One to three dialogues a sample: short answers, captions, and detections of up to some hundred tokens."""
    rng = np.random.default_rng(0)
    row = np.repeat(np.arange(samples, dtype=np.int32), rng.integers(1, 4, samples))
    group = rng.integers(0, len(TASKS), len(row)).astype(np.int32)
    tokens = np.choose(group, [rng.integers(45, 75, len(row)), rng.integers(30, 40, len(row)),
                               rng.integers(40, 600, len(row)), rng.integers(30, 60, len(row))])  # fmt: skip
    shard_run = (np.arange(samples) // PER_SHARD).astype(np.int32)
    return Lengths(row, tokens.astype(np.int32), (tokens // 2).astype(np.int32), shard_run, group)


def make_processor() -> EarthGPTProcessor:
    texts = [CAPTIONING, CLASSIFICATION, "0.123,0.456;", "There are two ships in the image."]
    return EarthGPTProcessor(EarthGPTImageProcessor(IMAGE_SIDE), train_tokenizer(texts, 1024), IMAGE_SLOTS)


def write_indexes(folder: Path, samples: int) -> None:
    """A data set whose tars are holes of the right size."""
    rng = np.random.default_rng(0)
    entries = []
    shards = -(-samples // PER_SHARD)
    for number in range(shards):
        count = min(PER_SHARD, samples - number * PER_SHARD)
        tasks = [rng.choice(TASKS, rng.integers(1, 4)).tolist() for _ in range(count)]
        rows = [index_row(f"many/train/{number:05d}-{row:04d}", row * 60_000, tasks[row]) for row in range(count)]
        entries.append(finish_shard(folder, "many", number, shards, rows, count * 60_000, "0" * 64))
    write_manifest(folder, "many", entries, samples)


def write_records(folder: Path, samples: int) -> None:
    """A genuine small data set of JPEGs with two dialogues each."""
    pixels = np.random.default_rng(0).integers(0, 255, (60, 60, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((800, 800), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=85)
    image = buffer.getvalue()
    info = ImageInfo(width=800, height=800, mode="RGB", sha256=hashlib.sha256(image).hexdigest())
    entries, shards = [], samples // PER_SHARD
    for number in range(shards):
        path = folder / f"few/train-{number:05d}-of-{shards:05d}.tar"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = []
        with path.open("wb") as file:
            writer = TarWriter(file)
            for place in range(PER_SHARD):
                name = f"few/train/{number:05d}-{place:04d}"
                dialogues = (
                    dialogue("captioning", CAPTIONING, f"There are {place} ships near the harbor in this image."),
                    dialogue("classification", CLASSIFICATION, "harbor"),
                )
                record = Record(
                    id=name, source="few", split="train", sensor="optical", image=info, licence="CC0-1.0",
                    dialogues=dialogues,
                ).to_json()  # fmt: skip
                members = writer.add(f"{place}.jpg", image), writer.add(f"{place}.json", record)
                row = index_row(name, members[0].offset, ["captioning", "classification"])
                row |= {"image_size": len(image), "record_offset": members[1].offset, "record_size": len(record)}
                rows.append(row | {"sha256": info.sha256})
            digest = writer.finish()
        entries.append(finish_shard(folder, "few", number, shards, rows, writer.bytes_written, digest))
    write_manifest(folder, "few", entries, samples)


def dialogue(task: Any, question: str, answer: str) -> Dialogue:
    return Dialogue(task=task, turns=(Turn(**{"from": "human"}, value=question), Turn(**{"from": "gpt"}, value=answer)))


def index_row(name: str, offset: int, tasks: list[str]) -> dict[str, Any]:
    return {
        "key": name.replace("/", "_"), "id": name, "image_offset": offset, "image_size": 58_000,
        "record_offset": offset + 59_000, "record_size": 800, "width": 800, "height": 800, "scene": None,
        "label": "harbor", "categories": [], "objects": 0, "ignored_objects": 0, "captions": 1, "dialogue_tasks": tasks,
        "dialogue_chars": [100] * len(tasks), "perceptual_hash": None, "reencoded": None, "sha256": "0" * 64,
    }  # fmt: skip


def finish_shard(
    folder: Path, source: str, number: int, shards: int, rows: list[dict], size: int, digest: str
) -> ShardEntry:
    name = f"{source}/train-{number:05d}-of-{shards:05d}.tar"
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.touch()
        os.truncate(path, size)
    index = io.BytesIO()
    write_index(index, rows)
    path.with_suffix(".parquet").write_bytes(index.getvalue())
    return ShardEntry(
        source=source, split="train", path=name, records=len(rows), bytes=size, sha256=digest,
        index_bytes=len(index.getvalue()), index_sha256=hashlib.sha256(index.getvalue()).hexdigest(),
    )  # fmt: skip


def write_manifest(folder: Path, source: str, entries: list[ShardEntry], samples: int) -> None:
    entry = SourceEntry(
        sensor="optical", licence="CC0-1.0", tasks=TASKS, categories=(), converter_version=1,
        image_suffix={"train": "jpg"}, options={}, splits={"train": SplitCounts(records=samples)},
    )  # fmt: skip
    manifest = Manifest(
        tool_version="0", recipe_digest="0", sources={source: entry}, shards=tuple(entries), quarantine_sha256="0"
    )
    (folder / MANIFEST_NAME).write_bytes(manifest.with_id().to_json())


MEASUREMENTS: dict[str, Callable[[int, Path], dict[str, Any]]] = {
    "select": measure_select,
    "plan": measure_plan,
    "resume": measure_resume,
    "count": measure_count,
    "prepare": measure_prepare,
}

if __name__ == "__main__":
    main()
