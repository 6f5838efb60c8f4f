"""Planted copies among generated images: `python -m benchmarks.duplicates [--images 30000] --out RESULT.json`.

Painted scenes of 21 classes are encoded as JPEG; 300 copies of some of them are planted, 50 of each kind: exact,
re-compressed, resized, flipped, rotated (the last three encoded again), tiled (a second tile of the same scene, in
another split). The groups of `mmrs.curation` are compared with what was planted, the search with comparing all pairs,
and the search alone is timed on random hashes.

`--rows 1000000` curates a data set of that size which has indexes only: random fingerprints, one in a hundred a turned
copy of another with a few bits changed, thumbnails that follow from the picture. Everything else is the real thing:
indexes read, both searches, confirmation, groups, guard, and the lines of the report.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.machine import describe
from benchmarks.trial import cpu_seconds_of_all, workers_peak
from converters.samples.noise import make_pool
from converters.samples.scenes import SCENES, paint_scene
from mmrs.curation.fingerprints import Thumbnails, thumbnails_of
from mmrs.curation.groups import Groups, find_groups
from mmrs.curation.guard import Policy, guard, shared_by_benchmarks, straddling
from mmrs.curation.image_table import Rows, load_rows, open_reduced
from mmrs.curation.known_copies import load_aliases
from mmrs.curation.report import CurationReport, RowOrigin
from mmrs.curation.search import DEFAULT_LIMIT, EXACT_BITS, bit_distance, near_pairs
from mmrs.engines.processes import ProcessPool
from mmrs.imaging.hashing import FINGERPRINT_BYTES, MIN_SIDE, VARIANTS, fingerprint, turned_hashes
from mmrs.progress import Progress
from mmrs.shards.index import write_index
from mmrs.shards.manifest import Manifest, ShardEntry, SourceEntry, SplitCounts, index_path
from mmrs.shards.reader import ShardSet

KINDS = ("exact", "recompressed", "resized", "flipped", "rotated", "tiled")
PLANTED_EACH = 50
SIDES = (200, 400)
TILE = 128
FLIPS = (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.TRANSPOSE)
TURNS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
BRUTE_FORCE_ROWS = 2000
COPY_SHARE = 100
WORKERS = 2


@dataclass(frozen=True)
class Planted:
    """The images as (id, JPEG bytes), which picture each shows, and the kind and two rows of each planted copy."""

    images: list[tuple[str, bytes]]
    pictures: list[int]
    copies: list[tuple[str, int, int]]


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=30_000)
    parser.add_argument("--hashes", type=int, default=1_000_000, help="random hashes for the search alone; 0: none")
    parser.add_argument("--rows", type=int, default=0, help="rows of the data set with indexes only; 0: none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    result = {"date": date.today().isoformat(), "machine": describe(), "seed": arguments.seed}
    if arguments.images:
        result["planted"] = fresh_process(planted_copies, arguments.images, arguments.seed)
    if arguments.hashes:
        result["search_alone"] = fresh_process(search_alone, arguments.hashes, arguments.seed)
    if arguments.rows:
        with tempfile.TemporaryDirectory() as folder:
            fresh_process(write_indexes, Path(folder), arguments.rows, arguments.seed)
            result["indexes_only"] = fresh_process(curate_indexes, Path(folder), arguments.rows, arguments.seed)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({name: result[name] for name in result if name != "machine"}, indent=2))


def fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run in a process of its own, so that its peak memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def planted_copies(count: int, seed: int) -> dict:
    """Recall by kind, false merges, leakage, seconds and peak memory."""
    seconds = {}
    started = time.perf_counter()
    planted = plant(count, seed)
    seconds["generate"] = time.perf_counter() - started
    before = peak_mib()
    started = time.perf_counter()
    rows = make_rows(planted.images)
    seconds["fingerprint"] = time.perf_counter() - started
    started = time.perf_counter()
    near_pairs(rows.hashes())
    seconds["search_whole_images"] = time.perf_counter() - started
    started = time.perf_counter()
    groups = find_groups(rows, load_aliases(), thumbnails_of(lambda row: planted.images[row][1], rows.ids))
    seconds["groups_with_both_searches_and_pixels"] = time.perf_counter() - started
    memory = {"before_mib": before, "peak_mib": peak_mib()}
    return {
        "images": len(rows),
        "flat_images": int(rows.flat.sum()),
        "seconds": seconds,
        "memory": memory,
        "links": groups.links.counts(),
        **compared(planted, rows, groups),
        "brute_force": brute_force(rows.hashes()),
    }


def plant(count: int, seed: int) -> Planted:
    """`count` images in all, the planted ones among them."""
    rng = np.random.default_rng(seed)
    pool = make_pool(rng, SIDES[1], SIDES[1])
    classes = sorted(SCENES)
    planted = Planted([], [], [])
    copies = [kind for kind in KINDS for _ in range(PLANTED_EACH)]
    for picture in range(count - len(copies)):
        width, height = rng.integers(*SIDES, 2).tolist()
        image = paint_scene(classes[picture % len(classes)], rng, pool, width, height)
        split = ("train", "test")[int(rng.integers(2))]
        kind = copies[picture] if picture < len(copies) else None
        if kind == "tiled":
            tiles = (image.crop((0, 0, TILE, TILE)), image.crop((TILE // 2, 0, TILE * 3 // 2, TILE)))
            add(planted, picture, f"made/train/scene{picture}__0___0", jpeg(tiles[0], 88))
            add(planted, picture, f"made/test/scene{picture}__{TILE // 2}___0", jpeg(tiles[1], 88))
            planted.copies.append((kind, len(planted.images) - 2, len(planted.images) - 1))
            continue
        data = jpeg(image, 88)
        add(planted, picture, f"made/{split}/image{picture}", data)
        if kind is not None:
            other = data if kind == "exact" else changed(kind, Image.open(io.BytesIO(data)), rng)
            add(planted, picture, f"made/{'train' if split == 'test' else 'test'}/copy{picture}", other)
            planted.copies.append((kind, len(planted.images) - 2, len(planted.images) - 1))
    return planted


def add(planted: Planted, picture: int, name: str, data: bytes) -> None:
    planted.images.append((name, data))
    planted.pictures.append(picture)


def changed(kind: str, image: Image.Image, rng: np.random.Generator) -> bytes:
    """A copy of the kind, encoded again."""
    if kind == "recompressed":
        return jpeg(image, int(rng.integers(30, 85)))
    if kind == "resized":
        scale = float(rng.uniform(0.4, 2.0))
        size = (round(image.width * scale), round(image.height * scale))
        return jpeg(image.resize(size, Image.Resampling.BICUBIC), 80)
    return jpeg(image.transpose((FLIPS if kind == "flipped" else TURNS)[int(rng.integers(3))]), 75)


def jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def make_rows(images: list[tuple[str, bytes]]) -> Rows:
    """The rows that an index of these images would give; decoding for the fingerprints included."""
    prints = b"".join(fingerprint(open_reduced(data, "L", MIN_SIDE, name)) for name, data in images)
    nothing = np.zeros(len(images), np.int64)
    return Rows(
        ids=tuple(name for name, _ in images),
        sha256=tuple(hashlib.sha256(data).hexdigest() for _, data in images),
        labels=(None,) * len(images),
        captions=nothing.astype(np.int32),
        shard=nothing.astype(np.int32),
        image_offset=nothing,
        image_size=nothing,
        record_offset=nothing,
        record_size=nothing,
        fingerprints=np.frombuffer(prints, np.uint8).reshape(-1, FINGERPRINT_BYTES),
        number=nothing.astype(np.int32),
    )


def compared(planted: Planted, rows: Rows, groups: Groups) -> dict:
    """Found copies by kind, links between different pictures, and what the guard leaves."""
    found = Counter(kind for kind, first, second in planted.copies if groups.labels[first] == groups.labels[second])
    ends = zip(groups.links.first.tolist(), groups.links.second.tolist(), groups.links.reasons, strict=True)
    false = [
        [rows.ids[first], rows.ids[second], reason]
        for first, second, reason in ends
        if planted.pictures[first] != planted.pictures[second]
    ]
    policy = Policy(frozenset({"made/train"}))
    evaluation = np.array([policy.evaluates(rows.source(row), rows.split(row)) for row in range(len(rows))])
    removed = {removal.row for removal in guard(groups, evaluation)}
    kept = np.array([row for row in range(len(rows)) if row not in removed])
    copies = [second for _, first, second in planted.copies if not {first, second} & removed]
    return {
        "planted": dict(Counter(kind for kind, _, _ in planted.copies)),
        "recall": {kind: found[kind] / PLANTED_EACH for kind in KINDS},
        "false_merges": len(false),
        "first_false_merges": false[:10],
        "removed": len(removed),
        "groups_that_straddle_after_the_guard": int(straddling(groups.labels[kept], evaluation[kept]).sum()),
        "planted_copies_that_leak_after_the_guard": len(copies),
    }


def brute_force(hashes: np.ndarray) -> dict:
    """All pairs under all variants, over some rows of the first side; the time for all is scaled from them."""
    part = hashes[:BRUTE_FORCE_ROWS]
    started = time.perf_counter()
    near = set()
    for variant in VARIANTS:
        turned = turned_hashes(part, variant)
        for row in range(len(part)):
            distance = bit_distance(turned[row], hashes[row + 1 :])
            near |= {(row, row + 1 + other) for other in np.flatnonzero(distance <= EXACT_BITS).tolist()}
    seconds = time.perf_counter() - started
    pairs = near_pairs(hashes, limit=DEFAULT_LIMIT)
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    compared_pairs = sum(len(hashes) - 1 - row for row in range(len(part)))
    return {
        "rows_of_the_first_side": len(part),
        "seconds": seconds,
        "seconds_for_all_rows_scaled": seconds * len(hashes) * (len(hashes) - 1) / 2 / compared_pairs,
        "near_pairs": len(near),
        "missed_by_the_search": len(near - found),
    }


def search_alone(count: int, seed: int) -> dict:
    """Seconds and peak memory of the search over random hashes."""
    hashes = np.random.default_rng(seed).integers(0, 2**64, (count, 4), dtype=np.uint64)
    before = peak_mib()
    started = time.perf_counter()
    pairs = near_pairs(hashes)
    seconds = time.perf_counter() - started
    return {
        "hashes": count,
        "pairs": len(pairs),
        "seconds": seconds,
        "before_mib": before,
        "peak_mib": peak_mib(),
    }


def pictures_of(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """``(count,)``: the row whose picture each row shows (its own in 99 of 100), and the variant it is turned by."""
    rng = np.random.default_rng(seed)
    picture = np.arange(count)
    copies = rng.choice(count, count // COPY_SHARE, replace=False)
    originals = np.setdiff1d(picture, copies, assume_unique=True)
    picture[copies] = rng.choice(originals, len(copies))
    variant = np.where(picture == np.arange(count), 0, rng.integers(0, len(VARIANTS), count))
    return picture, variant


def write_indexes(folder: Path, count: int, seed: int) -> None:
    """A data set of `count` rows without tars: half train, half test, 1,000 rows an index."""
    rng = np.random.default_rng(seed + 1)
    picture, variant = pictures_of(count, seed)
    whole = rng.integers(0, 2**64, (count, 4), dtype=np.uint64)
    centre = rng.integers(0, 2**64, (count, 4), dtype=np.uint64)
    for number, turn in enumerate(VARIANTS):
        rows = np.flatnonzero((variant == number) & (picture != np.arange(count)))
        whole[rows] = turned_hashes(whole[picture[rows]], turn)
    copies = np.flatnonzero(picture != np.arange(count))
    whole[copies, 3] ^= rng.integers(0, 2**8, len(copies), dtype=np.uint64)
    prints = np.concatenate([whole, centre], axis=1).view(np.uint8).reshape(count, FINGERPRINT_BYTES)
    entries = []
    for split in ("train", "test"):
        rows = np.flatnonzero((np.arange(count) % 2 == 1) == (split == "test"))
        parts = np.array_split(rows, max(1, len(rows) // 1000))
        for number, part in enumerate(parts):
            path = f"made/{split}-{number:05d}-of-{len(parts):05d}.tar"
            buffer = io.BytesIO()
            write_index(buffer, [index_row(row, split, prints[row]) for row in part.tolist()])
            target = folder / index_path(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(buffer.getvalue())
            digest = hashlib.sha256(buffer.getvalue()).hexdigest()
            files = {"sha256": "0" * 64, "bytes": 10_240, "index_sha256": digest, "index_bytes": buffer.tell()}
            entries.append(ShardEntry(source="made", split=split, path=path, records=len(part), **files))
    source = SourceEntry(
        sensor="optical",
        licence="CC0-1.0",
        tasks=(),
        categories=(),
        image_suffix={"train": "jpg", "test": "jpg"},
        converter_version=1,
        options={},
        splits={split: SplitCounts() for split in ("train", "test")},
    )
    manifest = Manifest(
        tool_version="0", recipe_digest="0", sources={"made": source}, shards=tuple(entries), quarantine_sha256="0"
    )
    (folder / "manifest.json").write_bytes(manifest.with_id().to_json())


def index_row(row: int, split: str, fingerprint_bytes: np.ndarray) -> dict[str, Any]:
    """One row of an index, with names and digests of the length that real ones have."""
    zeros = ("objects", "ignored_objects", "captions")
    places = {"image_offset": 512, "image_size": 512, "record_offset": 1536, "record_size": 512}
    name = f"made-{split}-{row:08d}"
    return (
        dict.fromkeys(zeros, 0)
        | places
        | {
            "key": name,
            "id": f"made/{split}/picture_of_a_place_{row:08d}",
            "width": 512,
            "height": 512,
            "scene": None,
            "label": "dense residential",
            "categories": ["small vehicle", "ship"],
            "dialogue_tasks": ["classification", "captioning"],
            "dialogue_chars": [120, 240],
            "perceptual_hash": fingerprint_bytes.tobytes(),
            "reencoded": None,
            "sha256": hashlib.sha256(name.encode()).hexdigest(),
        }
    )


def curate_indexes(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Seconds by part and peak memory of curating what `write_indexes` wrote."""
    picture, variant = pictures_of(count, seed)

    def load(position: int, share: float) -> np.ndarray:
        row = int(rows.ids[position].rpartition("_")[2])
        rng = np.random.default_rng(int(picture[row]))
        return np.ascontiguousarray(VARIANTS[variant[row]].apply(rng.normal(128, 40, (64, 64)).astype(np.float32)))

    def colour(position: int, share: float) -> np.ndarray:
        return np.stack([load(position, share)] * 3)

    before, seconds, started = peak_mib(), {}, time.perf_counter()
    processor = sum(cpu_seconds_of_all())
    shards = ShardSet(folder)
    rows = load_rows(shards, ProcessPool(1), Progress(quiet=True))
    seconds["read_indexes"] = time.perf_counter() - started
    started = time.perf_counter()
    with workers_peak() as workers:
        groups = find_groups(rows, load_aliases(), Thumbnails(load, colour), WORKERS)
    seconds["groups_with_both_searches_and_confirmation"] = time.perf_counter() - started
    started = time.perf_counter()
    splits = [f"{rows.source(row)}/{rows.split(row)}" for row in range(len(rows))]
    evaluation = np.array([name == "made/test" for name in splits])
    removals = guard(groups, evaluation)
    shared = shared_by_benchmarks(groups.labels, splits, evaluation)
    policy = Policy(frozenset({"made/train"}))
    origin = RowOrigin(np.zeros(len(rows), np.int32), (str(folder),))
    report = CurationReport(shards.manifest.id, rows, groups, policy, removals, (), (), shared, origin)
    written = sum(len(line) for line in report.lines())
    seconds["guard_and_report"] = time.perf_counter() - started
    order = [int(name.rpartition("_")[2]) for name in rows.ids]
    place = {row: position for position, row in enumerate(order)}
    copies = np.flatnonzero(picture != np.arange(count)).tolist()
    found = sum(groups.labels[place[row]] == groups.labels[place[int(picture[row])]] for row in copies)
    return {
        "rows": len(rows),
        "copies_planted": len(copies),
        "copies_found": int(found),
        "links": groups.links.counts(),
        "removals": len(removals),
        "report_bytes": written,
        "seconds": seconds,
        "processor_seconds": sum(cpu_seconds_of_all()) - processor,
        "before_mib": before,
        "peak_mib": peak_mib(),
        "workers": WORKERS,
        "largest_workers_mib": [peak >> 20 for peak in workers[:WORKERS]],
    }


def peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
