"""Planted copies among generated images: `python -m benchmarks.duplicates [--images 30000] --out RESULT.json`.

Painted scenes of 21 classes are encoded as JPEG; 300 copies of some of them are planted, 50 of each kind: exact,
re-compressed, resized, flipped, rotated (the last three encoded again), tiled (a second tile of the same scene, in
another split). The groups of `mmrs.curation` are compared with what was planted, the search with comparing all pairs,
and the search alone is timed on random hashes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import resource
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.machine import describe
from converters.samples.noise import make_pool
from converters.samples.scenes import SCENES, paint_scene
from mmrs.curation.aliases import load_aliases
from mmrs.curation.fingerprints import THUMBNAIL_SIDE
from mmrs.curation.groups import Groups, find_groups
from mmrs.curation.guard import Policy, guard, straddling
from mmrs.curation.rows import Rows, open_grey
from mmrs.curation.search import DEFAULT_LIMIT, EXACT_BITS, bit_distance, near_pairs
from mmrs.imaging.hashing import FINGERPRINT_BYTES, MIN_SIDE, VARIANTS, fingerprint, grey_thumbnail, turned_hashes

KINDS = ("exact", "recompressed", "resized", "flipped", "rotated", "tiled")
PLANTED_EACH = 50
SIDES = (200, 400)
TILE = 128
FLIPS = (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.TRANSPOSE)
TURNS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
BRUTE_FORCE_ROWS = 2000


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
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    result = {"date": date.today().isoformat(), "machine": describe(), "seed": arguments.seed}
    result["planted"] = fresh_process(planted_copies, arguments.images, arguments.seed)
    if arguments.hashes:
        result["search_alone"] = fresh_process(search_alone, arguments.hashes, arguments.seed)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({name: result[name] for name in result if name != "machine"}, indent=2))


def fresh_process(function: Callable[[int, int], dict], *arguments: int) -> dict:
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
    groups = find_groups(rows, load_aliases(), thumbnails(planted.images))
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
    prints = b"".join(fingerprint(open_grey(data, MIN_SIDE, name)) for name, data in images)
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
    )


def thumbnails(images: list[tuple[str, bytes]]) -> Callable[[int, float], np.ndarray]:
    """Thumbnails for the confirmation by pixels."""

    @lru_cache(maxsize=8192)
    def load(row: int, share: float) -> np.ndarray:
        name, data = images[row]
        return grey_thumbnail(open_grey(data, 4 * THUMBNAIL_SIDE, name), THUMBNAIL_SIDE, share)

    return load


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


def peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
