"""Records a second that one core exports: `python -m benchmarks.export_speed --folder DIR --out RESULT.json`.

Every format, images copied and labels alone; each run is timed in processor time, and runs take turns. The floor beside
them is the unavoidable work: read every record and image by offset, parse the JSON, write the image. With `--before
CHECKOUT` each run is followed by one of that checkout's code, in a process of its own, on the same data set.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
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
FLOOR = "floor"


def main() -> None:
    """Build a data set of boxes, export it in every format, write one JSON file; or, with `--serve`, run and time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--folder", type=Path, required=True, help="work folder; deleted at the end")
    parser.add_argument("--before", type=Path, help="another checkout of this project")
    parser.add_argument("--form", action="append", help="only this format; repeatable")
    parser.add_argument("--rule", action="append", choices=["copy", "none"], help="only this rule of images")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve, given.folder)
        return
    given.folder.mkdir(parents=True)
    shards = prepared(given.folder, given.images)
    records = sum(shard.records for shard in ShardSet(shards).manifest.shards)
    rules = given.rule or ["copy", "none"]
    runs = [(FLOOR, "copy"), *((form, rule) for form in given.form or EXPORT_FORMATS for rule in rules)]
    trees = {"after": Path(__file__).parents[1]} | ({"before": given.before.absolute()} if given.before else {})
    seconds = timed(shards, given.folder, trees, runs, given.repetitions)
    result = {
        "date": date.today().isoformat(),
        "machine": describe(),
        "load_at_the_end": os.getloadavg(),
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


def timed(
    shards: Path, folder: Path, trees: dict[str, Path], runs: Sequence[tuple[str, str]], repetitions: int
) -> dict[str, list[float]]:
    """Processor seconds of each run by each tree's code, after one that is not counted."""
    seconds: dict[str, list[float]] = {}
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(_server(tree, shards, folder / f"out-{name}")) for name, tree in trees.items()
        }
        for repetition in range(repetitions + 1):
            for form, rule in runs:
                for name in sorted(servers, reverse=bool(repetition % 2)):
                    took = _asked(servers[name], f"{form} {rule}\n")
                    if repetition:
                        seconds.setdefault(f"{form}, {rule}, {name}", []).append(took)
    return seconds


def _server(tree: Path, shards: Path, out: Path) -> subprocess.Popen[str]:
    words = [sys.executable, __file__, "--serve", str(shards), "--folder", str(out)]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    return subprocess.Popen(words, env=environment, cwd=tree, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _asked(server: subprocess.Popen[str], run: str) -> float:
    if server.stdin is None or server.stdout is None:
        raise RuntimeError("a server has pipes")
    server.stdin.write(run)
    server.stdin.flush()
    return float(server.stdout.readline())


def serve(shards: Path, out: Path) -> None:
    """Of each line of the standard input, a format and a rule of images, the processor seconds of that export."""
    for line in sys.stdin:
        form, rule = line.split()
        gc.collect()
        start = time.process_time()
        if form == FLOOR:
            floor(shards, out)
        else:
            write_export(ExportConfig(shards, form, out, images=rule), QUIET)  # type: ignore[arg-type]
        took = time.process_time() - start
        shutil.rmtree(out)
        print(took, flush=True)


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
