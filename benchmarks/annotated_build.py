"""Build of annotated sets against its floor: `python -m benchmarks.annotated_build --samples DIR --folder DIR`.

Four sets: HIT-UAV and SSDD as --samples has them; HIT-UAV of the published size (2,898), the genuine images and rows as
often as it takes under new names; and DIOR-R: 23,463 label files drawn from the genuine ones of --samples with as many
objects as the published set (192,518), each beside a stand-in of 800 x 800 pixels with bytes of its own. Every trial is
a fresh process with all imports done, those of the process that workers are forked from too, as `mmrs build` loads both
at once; processor seconds are its own and its children's. The trials ``command-*`` are the whole command.

The floor of a set is what no build of L1 can leave out: read every image, decode it at 1/8 and fingerprint it, parse
the files of the layout in use with the bare parser (`orjson`, `xml.etree.ElementTree`, `str.split`), sha256 of every
image and of the tar, write the tar with the images alone. `scan` is `mmrs scan` of the set, whose floor `bare-parse`
reads and parses each of these files once. `floor-two` is the floor by two processes, half of the images each: what a
second processor of the machine gives at most.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import orjson
from PIL import Image

import converters
from benchmarks.corpus import genuine, with_comment
from benchmarks.machine import describe
from benchmarks.trial import in_fresh_process, interleaved, measured, paired, peak_rss, warm, workers_peak
from converters.commands.build import WORKER_MODULES
from converters.scan import scan_source
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.engines.processes import warm_up
from mmrs.imaging.hashing import fingerprint, reduced_size
from mmrs.progress import Progress
from mmrs.shards.tar import TarWriter
from mmrs.source import Discovery, SourceBuild

DIOR_IMAGES = {"train": 5_862, "val": 5_863, "test": 11_738}
DIOR_OBJECTS = 192_518
_SIDE = 800
_SECONDS_TO_LOAD = 2.0
_FILENAME = re.compile(rb"<filename>[^<]*</filename>")
HIT_UAV_IMAGES = {"train": 2_029, "val": 290, "test": 579}
TRIALS = ("floor", "one", "two", "command-one", "command-two", "floor-two", "bare-parse", "scan")
SMALLEST = 2_898


@dataclass(frozen=True, slots=True)
class AnnotatedSet:
    """A source to build, where it lies, and the options of its converter."""

    name: str
    source: str
    root: Path
    options: tuple[tuple[str, str], ...] = ()

    def discover(self) -> list[Discovery]:
        """Every split that is there."""
        source = converters.get(self.source, **dict(self.options))
        return [source.discover(self.root, split) for split in source.splits_in(self.root)]


def main() -> None:
    """Measure every set and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=Path, required=True, help="folder with hit-uav/, ssdd-full/, dior/, rsscn7/")
    parser.add_argument("--folder", type=Path, required=True, help="work folder; DIOR-R is kept there")
    parser.add_argument("--sets", nargs="+", default=["hit-uav", "hit-uav-2898", "ssdd", "dior-r"])
    parser.add_argument("--dior-images", type=int, default=sum(DIOR_IMAGES.values()))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", nargs="+", default=TRIALS, choices=TRIALS)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--trial", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.trial:
        (one,) = _sets(given)
        print(json.dumps(_trial(one, given.trial, given.folder)))
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    if "dior-r" in given.sets:
        write_dior(given.samples, given.folder / f"dior-{given.dior_images}", given.dior_images)
    if "hit-uav-2898" in given.sets:
        write_hit_uav(given.samples / "hit-uav", given.folder / "hit-uav-2898")
    result: dict[str, Any] = {"date": date.today().isoformat(), "machine": describe(), "load": os.getloadavg()}
    result["sets"] = {one.name: _measure(one, given) for one in _sets(given)}
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({name: found["summary"] for name, found in result["sets"].items()}, indent=2))


def _sets(given: argparse.Namespace) -> list[AnnotatedSet]:
    known = (
        AnnotatedSet("hit-uav", "hit-uav", given.samples / "hit-uav"),
        AnnotatedSet("hit-uav-2898", "hit-uav", given.folder / "hit-uav-2898"),
        AnnotatedSet("ssdd", "ssdd", given.samples / "ssdd-full"),
        AnnotatedSet("dior-r", "dior", given.folder / f"dior-{given.dior_images}", (("boxes", "oriented"),)),
    )
    return [one for one in known if one.name in given.sets]


def _measure(one: AnnotatedSet, given: argparse.Namespace) -> dict[str, Any]:
    found = one.discover()
    warm([path for part in found for item in part.items for path in (item.file, *item.annotations)])
    words = ("--samples", given.samples, "--folder", given.folder, "--dior-images", given.dior_images)

    def run(trial: str) -> dict[str, Any]:
        return in_fresh_process("benchmarks.annotated_build", (*words, "--sets", one.name, "--trial", trial))

    runs = interleaved(given.trials, given.rounds, run)
    images = sum(len(part.items) for part in found)
    return {"images": images, "summary": _summary(runs, images), "runs": runs}


def _summary(runs: dict[str, list[dict[str, Any]]], images: int) -> dict[str, Any]:
    summary: dict[str, Any] = {
        f"{name}_microseconds_an_image": round(
            1e6 * min(run["cpu_seconds"] / run["passes"] for run in some) / images, 1
        )
        for name, some in runs.items()
    }
    if "floor" in runs and "one" in runs:
        summary["of_floor"] = paired(runs["floor"], runs["one"], "cpu_seconds")
    if "floor" in runs and "floor-two" in runs:
        summary["floor-two_faster_by"] = paired(runs["floor-two"], runs["floor"])
    if "bare-parse" in runs and "scan" in runs:
        summary["scan_of_bare_parse"] = paired(runs["bare-parse"], runs["scan"], "cpu_seconds")
    for one, two in (("one", "two"), ("command-one", "command-two")):
        if one in runs and two in runs:
            summary[f"{two}_faster_by"] = paired(runs[two], runs[one])
    if "one" in runs and "two" in runs:
        # What two idle processors would take, from processor seconds: those of a busy machine tell it as well.
        summary["two_faster_by_critical_path"] = paired(runs["two"], runs["one"], "critical_seconds")
    return summary


def _trial(one: AnnotatedSet, trial: str, folder: Path) -> dict[str, Any]:
    import pyarrow

    # With its first value pyarrow imports pandas where that is installed: no part of the cost of a build.
    pyarrow.scalar(0)
    work: Callable[[Path], dict[str, Any]]
    found = one.discover()
    workers = 2 if trial.endswith("two") else 1
    if trial == "floor":
        work = lambda out: floor(found, out)  # noqa: E731
    elif trial == "floor-two":
        work = lambda out: _floor_of_two(found, out)  # noqa: E731
    elif trial == "bare-parse":
        work = lambda out: _bare_pass(found)  # noqa: E731
    elif trial == "scan":
        work = lambda out: _scan(one)  # noqa: E731
    elif trial.startswith("command"):
        work = lambda out: _command(one, workers, out)  # noqa: E731
    else:
        warm_up(workers, (*WORKER_MODULES, type(converters.get(one.source)).__module__))
        time.sleep(_SECONDS_TO_LOAD if workers > 1 else 0)
        work = lambda out: _build(one, workers, out)  # noqa: E731
    # Small sets are built as often as makes one of the size of HIT-UAV: what is done once is paid once.
    passes = max(1, SMALLEST // sum(len(part.items) for part in found))

    def all_passes() -> dict[str, Any]:
        for _ in range(passes):
            with tempfile.TemporaryDirectory(dir=folder) as place:
                said = work(Path(place))
        return said | {"passes": passes}

    found_out = measured(all_passes)
    # The plan is made by one process, all else by `workers`, and nothing waits for anything else.
    planning = passes * found_out.get("plan_cpu_seconds", 0.0)
    return found_out | {"critical_seconds": planning + (found_out["cpu_seconds"] - planning) / workers}


def floor(found: Sequence[Discovery], out: Path) -> dict[str, Any]:
    """What no build can leave out, in one process."""
    _parse_shared(found)
    images = 0
    for number, part in enumerate(found):
        with (out / f"{number}.tar").open("wb") as file:
            writer = TarWriter(file)
            for item in part.items:
                data = item.file.read_bytes()
                with Image.open(io.BytesIO(data)) as image:
                    image.draft("L", reduced_size(*image.size))
                    image.load()
                    fingerprint(image)
                hashlib.sha256(data).hexdigest()
                for path in item.annotations:
                    _bare_parse(path)
                writer.add(f"{images:08d}.jpg", data)
                images += 1
            writer.finish()
    return {"images": images}


def _floor_of_two(found: Sequence[Discovery], out: Path) -> dict[str, Any]:
    running = []
    for start in (0, 1):
        half = [replace(part, items=part.items[start::2]) for part in found]
        place = out / str(start)
        place.mkdir()
        # Forked, so that all imports are done, as they are for the trials of one process.
        running.append(multiprocessing.get_context("fork").Process(target=floor, args=(half, place)))
        running[-1].start()
    for process in running:
        process.join()
    return {"exit_codes": [process.exitcode for process in running]}


def _parse_shared(found: Sequence[Discovery]) -> None:
    shared = {item.annotations[0] for part in found for item in part.items if item.annotations[0].suffix == ".json"}
    for path in sorted(shared):
        orjson.loads(path.read_bytes())


def _bare_pass(found: Sequence[Discovery]) -> dict[str, Any]:
    _parse_shared(found)
    for part in found:
        for item in part.items:
            for path in item.annotations:
                _bare_parse(path)
    return {}


def _scan(one: AnnotatedSet) -> dict[str, Any]:
    splits = scan_source(one.source, one.root, dict(one.options), Progress(quiet=True)).splits
    return {"images": sum(split.images for split in splits), "objects": sum(split.objects for split in splits)}


def _bare_parse(path: Path) -> None:
    if path.suffix == ".xml":
        ElementTree.fromstring(path.read_bytes())
    elif path.suffix == ".txt":
        [line.split() for line in path.read_text().splitlines()]


def _build(one: AnnotatedSet, workers: int, out: Path) -> dict[str, Any]:
    source = converters.get(one.source, **dict(one.options))
    words = {"sources": [{"name": one.source}], "validation": "L1", "quarantine_ceiling": 1}
    recipe, quiet = BuildRecipe.model_validate(words), Progress(quiet=True)
    asked = [SourceBuild(source, one.root, tuple(source.splits_in(one.root)))]
    started = time.process_time()
    with workers_peak() as peaks:
        plan = plan_build(asked, recipe, workers, quiet)
        planned = time.process_time() - started
        result = build(plan, recipe, out / "shards", workers, quiet)
    records = sum(shard.records for shard in result.manifest.shards)
    return {"images": records, "shards": len(result.manifest.shards), "workers_peak_bytes": peaks} | {
        "manifest": result.manifest.id,
        "parent_peak_bytes": peak_rss(),
        "plan_cpu_seconds": planned,
    }


def _command(one: AnnotatedSet, workers: int, out: Path) -> dict[str, Any]:
    options = [word for name, value in one.options for word in ("--option", f"{name}={value}")]
    words = ["build", one.source, "--root", f"{one.source}={one.root}", *options, "--out", str(out / "shards")]
    words += ["--set", "quarantine_ceiling=1", "--workers", str(workers)]
    subprocess.run([sys.executable, "-m", "cli", "--quiet", *words], check=True, stdout=subprocess.DEVNULL)
    return {}


def write_hit_uav(samples: Path, root: Path) -> None:
    """HIT-UAV of the published size in its layout ``rotate_json``: genuine images and rows, again and again under names
    of other frames. A set that is there is kept."""
    if (root / "done").exists():
        return
    shutil.rmtree(root, ignore_errors=True)
    (root / "rotate_json" / "annotations").mkdir(parents=True)
    for split, count in HIT_UAV_IMAGES.items():
        folder = root / "rotate_json" / split
        folder.mkdir()
        shared = orjson.loads((samples / "rotate_json" / "annotations" / f"{split}.json").read_bytes())
        rows: dict[int, list[dict[str, Any]]] = {}
        for row in shared["annotations"]:
            rows.setdefault(row["image_id"], []).append(row)
        genuine_images, images, annotations = shared["images"], [], []
        for number in range(count):
            image = genuine_images[number % len(genuine_images)]
            stem, _, frame = image["filename"].removesuffix(".jpg").rpartition("_")
            name = f"{stem}_{int(frame) + 100_000 * (number // len(genuine_images))}.jpg"
            data = (samples / "normal_json" / split / image["filename"]).read_bytes()
            (folder / name).write_bytes(with_comment(data, b"copy %08d" % number))
            images.append(image | {"id": number, "filename": name})
            annotations += [row | {"id": len(annotations), "image_id": number} for row in rows.get(image["id"], ())]
        words = shared | {"images": images, "annotations": annotations}
        (root / "rotate_json" / "annotations" / f"{split}.json").write_bytes(orjson.dumps(words))
    (root / "done").touch()


def write_dior(samples: Path, root: Path, count: int) -> None:
    """A DIOR-R of `count` images: genuine label files under new names, drawn so that they have the published mean of
    objects, and stand-ins made of genuine scenes. A set that is there is kept."""
    if (root / "done").exists():
        return
    shutil.rmtree(root, ignore_errors=True)
    folder = samples / "dior" / "Annotations" / "Oriented Bounding Boxes"
    labels = [path.read_bytes() for path in sorted(folder.glob("*.xml"))]
    chosen = _draw([label.count(b"<object>") for label in labels], count)
    pictures = [_enlarged(jpeg) for jpeg in genuine(samples / "rsscn7")]
    annotations, images = root / "Annotations" / folder.name, root / "JPEGImages"
    lists = root / "ImageSets" / "Main"
    for place in (annotations, images, lists):
        place.mkdir(parents=True)
    stems = [f"{number + 1:05d}" for number in range(count)]
    for number, (stem, label) in enumerate(zip(stems, chosen, strict=True)):
        named = _FILENAME.sub(f"<filename>{stem}.jpg</filename>".encode(), labels[label], count=1)
        (annotations / f"{stem}.xml").write_bytes(named)
        picture = with_comment(pictures[number % len(pictures)], b"copy %08d" % number)
        (images / f"{stem}.jpg").write_bytes(picture)
    ends = np.cumsum([0, *DIOR_IMAGES.values()]) * count // sum(DIOR_IMAGES.values())
    for split, start, end in zip(DIOR_IMAGES, ends, ends[1:], strict=False):
        (lists / f"{split}.txt").write_text("\n".join(stems[start:end]) + "\n")
    (root / "done").touch()


def _draw(objects: Sequence[int], count: int) -> list[int]:
    """`count` positions, likelier where there are more objects (exponentially), so that the mean is the published."""
    numbers = np.array(objects, dtype=np.float64)
    mean, low, high = DIOR_OBJECTS / sum(DIOR_IMAGES.values()), -1.0, 1.0
    while high - low > 1e-9:
        tilt = (low + high) / 2
        weights = np.exp(tilt * (numbers - numbers.max()))
        low, high = (tilt, high) if weights @ numbers / weights.sum() < mean else (low, tilt)
    shares = np.cumsum(weights / weights.sum())
    return np.minimum(np.searchsorted(shares, np.random.default_rng(0).random(count)), len(objects) - 1).tolist()


def _enlarged(jpeg: bytes) -> bytes:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(jpeg)) as image:
        image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=40)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
