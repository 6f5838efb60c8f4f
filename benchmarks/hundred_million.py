"""What 100 million rows would take: `python -m benchmarks.hundred_million --out RESULT.json [--rows 1000000 3000000]`.

Data sets of so many index rows are made, 4,000 to a shard as of 256 MiB at 64 KB an image; indexes are genuine, tars
holes of the right size, since nothing here reads a sample. Each stage runs in a fresh process of one worker, which
tells its processor seconds and its peak memory:

- `manifest`: it is read and checked;
- `indexes`: every index is compared with the manifest, all columns looked at, as `mmrs verify` does of them;
- `stats`: `mmrs stats`;
- `stream`: the samples of a run are selected, and an epoch of packs is planned;
- `curation-table`: what `mmrs curate` keeps of all images, without fingerprints to make;
- `merge`: `mmrs merge` of the data set, by hard links;
- `search`: near pairs of hashes under all turns, on `--search-rows`, of which it takes the square.

A function a + b n (`search`: a + b n^2) is fitted to each and evaluated at 100 million. Two points make a line and
prove nothing: the third, where it was measured, is compared with the line through the first two.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.machine import describe
from benchmarks.trial import in_fresh_process, peak_rss
from mmrs.builder.reuse.merge import MergeConfig, merge_data_sets
from mmrs.builder.shard import ShardResult
from mmrs.curation.image_table import load_rows
from mmrs.curation.search import near_pairs
from mmrs.engines.processes import ProcessPool
from mmrs.imaging.hashing import FINGERPRINT_BYTES
from mmrs.progress import Progress
from mmrs.report.statistics import statistics
from mmrs.shards.index import INDEX_SCHEMA
from mmrs.shards.manifest import Manifest, ShardEntry, SourceEntry, SplitCounts, done_path, index_path, load_manifest
from mmrs.shards.reader import ShardSet

PER_SHARD, IMAGE_BYTES, RECORD_BYTES = 4_000, 64_000, 1_500
GOAL = 100_000_000
QUIET = Progress(quiet=True)
TASKS = ("classification", "detection-hbb")


def main() -> None:
    """Measure and write one JSON file; or, with `--one`, a single measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 3_000_000])
    parser.add_argument("--search-rows", type=int, nargs="+", default=[100_000, 200_000, 400_000])
    parser.add_argument("--stage", action="append", choices=list(STAGES), help="only this one; repeatable")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", choices=list(STAGES))
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measured(STAGES[given.one], given.rows[0], given.folder)))
        return
    result: dict[str, Any] = {"date": date.today().isoformat(), "machine": describe(), "rows_a_shard": PER_SHARD}
    points: dict[str, list[dict[str, Any]]] = {name: [] for name in given.stage or STAGES}
    for rows in given.rows:
        with tempfile.TemporaryDirectory(prefix="mmrs-rows-") as name:
            write_data_set(Path(name) / "data", rows)
            for stage in points:
                if stage != "search":
                    points[stage].append(one(stage, rows, Path(name)))
    if "search" in points:
        points["search"] = [one("search", rows, Path()) for rows in given.search_rows]
    result["stages"] = {stage: {"points": found, **fitted(stage, found)} for stage, found in points.items()}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=2) + "\n")


def one(stage: str, rows: int, folder: Path) -> dict[str, Any]:
    words = ["--one", stage, "--rows", rows, "--folder", folder]
    found = {"rows": rows} | in_fresh_process("benchmarks.hundred_million", words)
    print(stage, json.dumps(found), flush=True)
    return found


def measured(stage: Callable[[int, Path], dict[str, Any]], rows: int, folder: Path) -> dict[str, Any]:
    """Processor seconds of this process and its children, and the peak memory before and after."""
    before = peak_rss()
    started = processor_seconds()
    more = stage(rows, folder)
    return {
        "processor_seconds": round(processor_seconds() - started, 2),
        "before_bytes": before,
        "peak_bytes": peak_rss(),
    } | more


def processor_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def fitted(stage: str, points: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The function of the rows through all points, its value at the goal, and how far the last point is from the line
    through those before it."""
    rows = np.array([point["rows"] for point in points], float)
    seconds = np.array([point["processor_seconds"] for point in points])
    memory = np.array([point["peak_bytes"] - point["before_bytes"] for point in points], float)
    powers = rows**2 if stage == "search" else rows
    goal = float(GOAL) ** 2 if stage == "search" else float(GOAL)
    found: dict[str, Any] = {"of": "rows^2" if stage == "search" else "rows"}
    for name, values, of, at in (("processor_seconds", seconds, powers, goal), ("bytes", memory, rows, float(GOAL))):
        if len(points) < 2:
            continue
        slope, start = np.polyfit(of, values, 1)
        part = {"start": float(start), "slope": float(slope), "at_100_million": float(start + slope * at)}
        if len(points) > 2:
            line = np.polyfit(of[:-1], values[:-1], 1)
            part["last_point_over_the_line_before"] = float(values[-1] / np.polyval(line, of[-1]))
        found[name] = part
    return found


def read_manifest(rows: int, folder: Path) -> dict[str, Any]:
    manifest = load_manifest(folder / "data")
    return {"shards": len(manifest.shards), "file_bytes": (folder / "data" / "manifest.json").stat().st_size}


def check_all_indexes(rows: int, folder: Path) -> dict[str, Any]:
    shards = ShardSet(folder / "data")
    shards.check_indexes()
    return {"index_bytes": sum(shard.index_bytes for shard in shards.manifest.shards)}


def count(rows: int, folder: Path) -> dict[str, Any]:
    found = statistics(folder / "data")
    if int(found.tables["split"]["images"].sum()) != rows:
        raise RuntimeError("rows were lost")
    return {}


def plan_stream(rows: int, folder: Path) -> dict[str, Any]:
    from training.data.planning.plan import Lengths, PlanSettings, epoch_plan
    from training.data.planning.selection import select

    settings = PlanSettings("d" * 64, "t" * 16, 0, 4096, 259, 4096, 256, 64, 4096)
    started = processor_seconds()
    selection = select([folder / "data"], ["train"])
    selected = processor_seconds() - started
    row = selection.dialogue_row
    rng = np.random.default_rng(0)
    tokens = rng.integers(30, 300, len(row)).astype(np.int32)
    runs = (np.arange(rows) // PER_SHARD).astype(np.int32)
    group = np.zeros(len(row), np.int32)
    plan = epoch_plan(Lengths(row, tokens, tokens // 2, runs, group), settings, 0)
    return {"select_seconds": round(selected, 2), "packs": len(plan)}


def curation_table(rows: int, folder: Path) -> dict[str, Any]:
    found = load_rows(ShardSet(folder / "data"), ProcessPool(1), QUIET)
    return {"flat": int(found.flat.sum())}


def merge(rows: int, folder: Path) -> dict[str, Any]:
    result = merge_data_sets(MergeConfig((folder / "data",), folder / "merged"), QUIET, 1)
    return {"linked": result.shards["linked"]}


def search(rows: int, folder: Path) -> dict[str, Any]:
    hashes = np.random.default_rng(0).integers(0, 2**64, (rows, 4), dtype=np.uint64)
    return {"pairs": len(near_pairs(hashes))}


def write_data_set(folder: Path, rows: int) -> None:
    """Indexes, done-files, empty tars and a manifest of so many rows of one split."""
    shards = -(-rows // PER_SHARD)
    entries = []
    for number in range(shards):
        first = number * PER_SHARD
        entries.append(write_shard(folder, number, shards, first, min(PER_SHARD, rows - first)))
    counts = SplitCounts(records=rows, objects=3 * rows, dialogues=dict.fromkeys(TASKS, rows))
    source = SourceEntry(
        sensor="optical",
        licence="CC0-1.0",
        tasks=TASKS,
        categories=("ship", "plane"),
        image_suffix={"train": "jpg"},
        converter_version=1,
        options={},
        splits={"train": counts},
    )
    (folder / "quarantine.jsonl").write_bytes(b"")
    manifest = Manifest(
        tool_version="0",
        recipe_digest="0",
        recipe={"dialect": "mmrs", "templates": "mmrs1m"},
        sources={"made": source},
        shards=tuple(entries),
        quarantine_sha256=hashlib.sha256(b"").hexdigest(),
    )
    (folder / "manifest.json").write_bytes(manifest.with_id().to_json())


def write_shard(folder: Path, number: int, shards: int, first: int, count: int) -> ShardEntry:
    name = f"made/train-{number:05d}-of-{shards:05d}.tar"
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    index = folder / index_path(name)
    pq.write_table(index_table(first, count), index, compression="zstd", store_schema=True)
    content = index.read_bytes()
    size = count * (IMAGE_BYTES + RECORD_BYTES + 2048)
    path.touch()
    os.truncate(path, size)
    facts = {
        "records": count,
        "bytes": size,
        "sha256": hashlib.sha256(name.encode()).hexdigest(),
        "index_bytes": len(content),
        "index_sha256": hashlib.sha256(content).hexdigest(),
    }
    counts = SplitCounts(records=count, objects=3 * count, dialogues=dict.fromkeys(TASKS, count))
    done = ShardResult(**facts, counts=counts, quarantine=()).model_dump(mode="json")
    (folder / done_path(name)).write_bytes(orjson.dumps(done, option=orjson.OPT_SORT_KEYS))
    return ShardEntry(source="made", split="train", path=name, **facts)


def index_table(first: int, count: int) -> pa.Table:
    """Rows with names, digests and fingerprints of their own; all else is alike."""
    rng = np.random.default_rng(first)
    numbers = np.char.zfill(np.arange(first, first + count).astype("U9"), 9)
    offsets = 512 + np.arange(count, dtype=np.int64) * (IMAGE_BYTES + RECORD_BYTES + 2048)
    prints = rng.bytes(count * FINGERPRINT_BYTES)
    digests = np.frombuffer(rng.bytes(32 * count).hex().encode(), "S64").astype("U64")
    values: dict[str, Any] = {
        "key": pa.array(np.char.add("made-train-", numbers)),
        "id": pa.array(np.char.add("made/train/picture_of_a_place_", numbers)),
        "image_offset": pa.array(offsets),
        "record_offset": pa.array(offsets + IMAGE_BYTES + 1024),
        "perceptual_hash": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(FINGERPRINT_BYTES), count, [None, pa.py_buffer(prints)]
        ),
        "sha256": pa.array(digests),
        "label": pa.array(np.array(["harbor", "airport", "forest"])[rng.integers(0, 3, count)]),
    }
    alike = {
        "image_size": IMAGE_BYTES,
        "record_size": RECORD_BYTES,
        "width": 800,
        "height": 800,
        "scene": None,
        "categories": ["plane", "ship"],
        "objects": 3,
        "ignored_objects": 0,
        "captions": 0,
        "dialogue_tasks": list(TASKS),
        "dialogue_chars": [60, 180],
        "reencoded": None,
    }
    columns = [
        values[field.name] if field.name in values else pa.array([alike[field.name]] * count, field.type)
        for field in INDEX_SCHEMA
    ]
    return pa.Table.from_arrays(columns, schema=INDEX_SCHEMA)


STAGES: dict[str, Callable[[int, Path], dict[str, Any]]] = {
    "manifest": read_manifest,
    "indexes": check_all_indexes,
    "stats": count,
    "stream": plan_stream,
    "curation-table": curation_table,
    "merge": merge,
    "search": search,
}

if __name__ == "__main__":
    main()
