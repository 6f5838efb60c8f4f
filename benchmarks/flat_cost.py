"""Cost of a build by its size: `python -m benchmarks.flat_cost --images DIR --folder DIR --out RESULT.json`.

Builds 1 k to 200 k small JPEGs (128-pixel cuts of genuine ones) and reports, stage by stage, microseconds per sample,
the exponent of growth between the two largest sizes (1 is linear), and the memory of the parent process, from which
that of a build of a million follows. Each size runs in a fresh process on a local disk, files in the page cache. Sizes
given with --planned are only planned, over links to few files: enough for the parent's part.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import resource
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.corpus import Corpus, generated, genuine, open_corpus, write_corpus
from benchmarks.machine import describe
from benchmarks.trial import in_fresh_process, peak_rss, warm, workers_peak

SIZES = (1_000, 10_000, 50_000, 200_000)
SHARD_BYTES = 32 * 2**20
MILLION = 1_000_000


def main() -> None:
    """Measure every size and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder with genuine JPEGs; generated ones otherwise")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--planned", type=int, nargs="*", default=(), help="sizes that are planned and not built")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--validation", default="L1")
    parser.add_argument("--folder", type=Path, required=True, help="work folder; deleted at the end")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--trial", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.trial:
        planned = bool(given.planned)
        print(json.dumps(build_once(open_corpus(given.folder), given.workers, given.validation, planned)))
        return
    pictures = [small(jpeg) for jpeg in genuine(given.images)] if given.images else generated(64, 128, 85)
    options = ("--workers", given.workers, "--validation", given.validation)
    built, planned = {}, {}
    try:
        for size in given.sizes:
            built[size] = in_turn(write_corpus(given.folder / str(size), pictures, size), *options)
        for size in given.planned:
            planned[size] = in_turn(linked_corpus(given.folder / str(size), pictures, size), *options, "--planned", 1)
    finally:
        shutil.rmtree(given.folder, ignore_errors=True)
    result: dict[str, Any] = {"date": date.today().isoformat(), "machine": describe(), "shard_bytes": SHARD_BYTES}
    result |= {"load_average_after": os.getloadavg()}
    result |= {"pictures": "genuine, cut" if given.images else "generated", "workers": given.workers}
    result |= {"validation": given.validation, "growth": growth(built), "runs": built}
    if len(planned) > 1:
        result |= {"growth_of_plans": growth(planned), "plans": planned}
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def in_turn(corpus: Corpus, *options: Any) -> dict[str, Any]:
    """One trial on the corpus, which is deleted after it."""
    warm(corpus.paths())
    run = in_fresh_process("benchmarks.flat_cost", ("--trial", "--folder", corpus.root, *options))
    shutil.rmtree(corpus.root)
    print(f"{corpus.files}: {run['microseconds_per_sample']}", flush=True)
    return run


def linked_corpus(root: Path, pictures: list[bytes], count: int) -> Corpus:
    """A corpus of `count` names for as many files as there are pictures."""
    corpus = write_corpus(root, pictures, len(pictures))
    paths = corpus.paths()
    for number in range(len(paths), count):
        first = paths[number % len(paths)]
        os.link(first, first.with_name(f"image-{number:08d}.jpg"))
    return open_corpus(root)


def small(jpeg: bytes) -> bytes:
    """The central 128 x 128 pixels of a picture as a JPEG of its own."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(jpeg)) as image:
        x, y = (image.width - 128) // 2, (image.height - 128) // 2
        image.crop((x, y, x + 128, y + 128)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def growth(runs: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Exponents of processor time between the two largest sizes; the parent's memory at a million by their slope."""
    small_size, large_size = sorted(runs)[-2:]
    less, more = runs[small_size], runs[large_size]
    exponents = {
        stage: math.log(more["cpu_seconds"][stage] / less["cpu_seconds"][stage]) / math.log(large_size / small_size)
        for stage in more["cpu_seconds"]
    }
    slope = (more["parent_peak_bytes"] - less["parent_peak_bytes"]) / (large_size - small_size)
    at_a_million = more["parent_peak_bytes"] + slope * (MILLION - large_size)
    return {"between": [small_size, large_size], "exponents": exponents} | {
        "parent_bytes_per_sample": slope,
        "parent_peak_bytes_at_a_million_extrapolated": at_a_million,
    }


def build_once(corpus: Corpus, workers: int, validation: str, planned: bool) -> dict[str, Any]:
    """One build and one run that finds everything done: seconds per stage, peak memory of parent and workers.

    `planned` stops behind the plan.
    """
    import pyarrow

    import converters
    from mmrs.builder.recipe import BuildRecipe
    from mmrs.builder.run import build, plan_build
    from mmrs.progress import Progress
    from mmrs.source import SourceBuild

    # With its first value pyarrow imports pandas where that is installed: no part of the cost of a build.
    pyarrow.scalar(0)
    words = {"sources": [{"name": "generic"}], "validation": validation, "shard_bytes": SHARD_BYTES}
    recipe, quiet = BuildRecipe.model_validate(words), Progress(quiet=True)
    source = converters.get("generic", description=str(corpus.description))
    clock = _Clock()
    imported = peak_rss()
    with clock.stage("discover"):
        source.discover(corpus.root, "train")
    with workers_peak() as workers:
        with clock.stage("survey_and_plan"):
            plan = plan_build([SourceBuild(source, corpus.root, ("train",))], recipe, workers, quiet)
        after_plan = peak_rss()
        if not planned:
            with clock.stage("shards_and_manifest"):
                result = build(plan, recipe, corpus.root / "shards", workers, quiet)
    if not planned:
        with clock.stage("nothing_to_do"):
            again = build(plan, recipe, corpus.root / "shards", workers, quiet)
        if again.rebuilt or again.manifest.id != result.manifest.id:
            raise SystemExit("the second run rebuilt shards")
    return {
        "samples": sum(len(task.samples) for task in plan.tasks),
        "shards": len(plan.tasks),
        "mean_file_bytes": corpus.bytes / corpus.files,
        "seconds": clock.seconds,
        "cpu_seconds": clock.cpu_seconds,
        "microseconds_per_sample": {
            stage: round(1e6 * value / corpus.files, 1) for stage, value in clock.cpu_seconds.items()
        },
        "parent_after_imports_bytes": imported,
        "parent_after_plan_bytes": after_plan,
        "parent_peak_bytes": peak_rss(),
        "workers_peak_bytes": workers,
    }


class _Clock:
    """Wall and processor seconds by stage, those of ended child processes included."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started, cpu = time.perf_counter(), _cpu()
        yield
        self.seconds[name], self.cpu_seconds[name] = time.perf_counter() - started, _cpu() - cpu


def _cpu() -> float:
    usages = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
