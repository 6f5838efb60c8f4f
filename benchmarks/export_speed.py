"""Records a second that one core exports: `python -m benchmarks.export_speed --folder DIR --out RESULT.json`.

Every format, images copied and labels alone; each run is timed in processor time, and runs take turns. The floor beside
them is the unavoidable work: read every record and image by offset, parse the JSON, write the image.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median

import orjson

from benchmarks.machine import describe
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.export.registry import EXPORT_FORMATS
from mmrs.export.run import ExportConfig, write_export
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from tests.support.sources import toy_build, write_toy

QUIET = Progress(quiet=True)
PLACES = ("id", "image_offset", "image_size", "record_offset", "record_size")


def main() -> None:
    """Build a data set of boxes, export it in every format, and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--folder", type=Path, required=True, help="work folder; deleted at the end")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    given.folder.mkdir(parents=True)
    shards = prepared(given.folder, given.images)
    records = sum(shard.records for shard in ShardSet(shards).manifest.shards)
    runs: dict[str, Callable[[Path], None]] = {"floor": lambda out: floor(shards, out)}
    for form in EXPORT_FORMATS:
        runs[f"{form}, images copied"] = exporter(shards, form, "copy")
        runs[f"{form}, no images"] = exporter(shards, form, "none")
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(given.repetitions):
        for name, run in runs.items():
            out = given.folder / "out"
            start = time.process_time()
            run(out)
            seconds[name].append(time.process_time() - start)
            shutil.rmtree(out)
    result = {
        "date": date.today().isoformat(),
        "machine": describe(),
        "records": records,
        "seconds": seconds,
        "records_per_second": {name: round(records / median(each)) for name, each in seconds.items()},
        "records_per_second_of_the_fastest": {name: round(records / min(each)) for name, each in seconds.items()},
    }
    shutil.rmtree(given.folder)
    text = json.dumps(result, indent=1)
    if given.out:
        given.out.write_text(text + "\n")
    print(text)


def prepared(folder: Path, images: int) -> Path:
    """A finished data set of one to three boxes an image, in the usual size of shards."""
    write_toy(folder / "toy", images=images, seed=1)
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}]})
    build(plan_build([toy_build(folder / "toy")], recipe, 1, QUIET), recipe, folder / "shards", 1, QUIET)
    return folder / "shards"


def exporter(location: Path, form: str, images: str) -> Callable[[Path], None]:
    """An export in that format, into the folder that it is given."""
    return lambda out: write_export(ExportConfig(location, form, out, images=images), QUIET) and None  # type: ignore[arg-type]


def floor(location: Path, out: Path) -> None:
    """Every record parsed and every image written, and nothing else."""
    shards = ShardSet(location)
    out.mkdir()
    for position in range(len(shards.manifest.shards)):
        for number, row in enumerate(shards.rows([position], PLACES).to_pylist()):
            orjson.loads(shards.record_bytes(row))
            (out / f"{position}-{number}.jpg").write_bytes(shards.image(row))


if __name__ == "__main__":
    main()
