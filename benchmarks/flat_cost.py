"""Cost of a build by its size: `python -m benchmarks.flat_cost --images DIR --folder DIR --out RESULT.json`.

Builds 1 k to 200 k small JPEGs (128-pixel cuts of genuine ones) and reports, stage by stage, microseconds per sample,
the exponent of growth between the two largest sizes (1 is linear), and the memory of the parent process, from which
that of a build of a million follows. Each size runs in a fresh process on a local disk, files in the page cache.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.corpus import Corpus, generated, genuine, open_corpus, write_corpus
from benchmarks.machine import describe
from benchmarks.trial import in_fresh_process, peak_rss, warm

SIZES = (1_000, 10_000, 50_000, 200_000)
SHARD_BYTES = 32 * 2**20
MILLION = 1_000_000


def main() -> None:
    """Measure every size and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder with genuine JPEGs; generated ones otherwise")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--validation", default="L1")
    parser.add_argument("--folder", type=Path, required=True, help="work folder; deleted at the end")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--trial", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.trial:
        print(json.dumps(build_once(open_corpus(given.folder), given.workers, given.validation)))
        return
    pictures = [small(jpeg) for jpeg in genuine(given.images)] if given.images else generated(64, 128, 85)
    runs = {}
    try:
        for size in given.sizes:
            corpus = write_corpus(given.folder / str(size), pictures, size)
            warm(corpus.paths())
            words = ("--trial", "--folder", corpus.root, "--workers", given.workers, "--validation", given.validation)
            runs[size] = in_fresh_process("benchmarks.flat_cost", words)
            shutil.rmtree(corpus.root)
            print(f"{size}: {runs[size]['microseconds_per_sample']}", flush=True)
    finally:
        shutil.rmtree(given.folder, ignore_errors=True)
    result: dict[str, Any] = {"date": date.today().isoformat(), "machine": describe(), "shard_bytes": SHARD_BYTES}
    result |= {"load_average_after": os.getloadavg()}
    result |= {"pictures": "genuine, cut" if given.images else "generated", "workers": given.workers}
    result |= {"validation": given.validation, "growth": growth(runs), "runs": runs}
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def small(jpeg: bytes) -> bytes:
    """The central 128 x 128 pixels of a picture as a JPEG of its own."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(jpeg)) as image:
        x, y = (image.width - 128) // 2, (image.height - 128) // 2
        image.crop((x, y, x + 128, y + 128)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def growth(runs: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Exponents between the two largest sizes, and the parent's memory at a million samples by their slope."""
    small_size, large_size = sorted(runs)[-2:]
    less, more = runs[small_size], runs[large_size]
    exponents = {
        stage: math.log(more["seconds"][stage] / less["seconds"][stage]) / math.log(large_size / small_size)
        for stage in more["seconds"]
    }
    slope = (more["parent_peak_bytes"] - less["parent_peak_bytes"]) / (large_size - small_size)
    at_a_million = more["parent_peak_bytes"] + slope * (MILLION - large_size)
    return {"between": [small_size, large_size], "exponents": exponents} | {
        "parent_bytes_per_sample": slope,
        "parent_peak_bytes_at_a_million_extrapolated": at_a_million,
    }


def build_once(corpus: Corpus, workers: int, validation: str) -> dict[str, Any]:
    """One build and one run that finds everything done: seconds per stage, peak memory of parent and workers."""
    import pyarrow

    import converters
    from mmrs.build.recipe import BuildRecipe
    from mmrs.build.run import build, plan_build
    from mmrs.progress import Progress
    from mmrs.source import SourceBuild

    # With its first value pyarrow imports pandas where that is installed: no part of the cost of a build.
    pyarrow.scalar(0)
    words = {"sources": [{"name": "generic"}], "validation": validation, "shard_bytes": SHARD_BYTES}
    recipe, quiet = BuildRecipe.model_validate(words), Progress(quiet=True)
    source = converters.get("generic", description=str(corpus.description))
    seconds: dict[str, float] = {}
    imported = peak_rss()
    with _timed(seconds, "discover"):
        source.discover(corpus.root, "train")
    with _workers_peak() as workers_peak, _timed(seconds, "whole_build"):
        with _timed(seconds, "survey_and_plan"):
            plan = plan_build([SourceBuild(source, corpus.root, ("train",))], recipe, workers, quiet)
        planned = peak_rss()
        with _timed(seconds, "shards_and_manifest"):
            result = build(plan, recipe, corpus.root / "shards", workers, quiet)
    with _timed(seconds, "nothing_to_do"):
        again = build(plan, recipe, corpus.root / "shards", workers, quiet)
    if again.rebuilt or again.manifest.id != result.manifest.id:
        raise SystemExit("the second run rebuilt shards")
    return {
        "samples": sum(shard.records for shard in result.manifest.shards),
        "shards": len(result.manifest.shards),
        "mean_file_bytes": corpus.bytes / corpus.files,
        "seconds": seconds,
        "microseconds_per_sample": {stage: round(1e6 * value / corpus.files, 1) for stage, value in seconds.items()},
        "parent_after_imports_bytes": imported,
        "parent_after_plan_bytes": planned,
        "parent_peak_bytes": peak_rss(),
        "workers_peak_bytes": workers_peak,
    }


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - started


@contextmanager
def _workers_peak() -> Iterator[list[int]]:
    """Peak resident bytes of each child process, largest first, sampled ten times a second."""
    peaks: dict[str, int] = {}
    found: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            for path in Path("/proc/self/task").glob("*/children"):
                for child in path.read_text().split():
                    peaks[child] = max(peaks.get(child, 0), _peak_of(child))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()
        found += sorted(peaks.values(), reverse=True)


def _peak_of(process: str) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


if __name__ == "__main__":
    main()
