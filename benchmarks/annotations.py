"""Annotation throughput and discovery: `python -m benchmarks.annotations --out RESULT.json [--files 1000000]`.

``*_parsed`` is the reader of the format alone, the others a whole `Converter.read`. Parsing is timed on one core in
processor seconds, on files in the page cache: genuine HIT-UAV XML and DOTA txt where --samples holds them, generated
ones otherwise. Discovery lists a folder of empty files; its memory is the peak of a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import converters
from benchmarks.machine import describe
from converters import samples
from converters.formats.voc import read_voc
from mmrs.source import Item

SECONDS = 4.0


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--samples", type=Path, help="folder with hit-uav/ and dota-v1.0/")
    parser.add_argument("--files", type=int, default=1_000_000, help="files to discover; 0 leaves discovery out")
    parser.add_argument("--discover", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.discover:
        print(json.dumps(discover(arguments.discover)))
        return
    with tempfile.TemporaryDirectory() as folder:
        roots = {name: source_root(name, arguments.samples, Path(folder)) for name in ("hit-uav", "dota")}
        normal_xml, rotate_xml = (converters.get("hit-uav", layout=name) for name in ("normal_xml", "rotate_xml"))
        dota = converters.get("dota")
        result = {
            "date": date.today().isoformat(),
            "machine": describe(),
            "genuine": arguments.samples is not None,
            "voc_xml_parsed": parsing(normal_xml, roots["hit-uav"], lambda item: read_voc(item.annotations[0]).objects),
            "voc_xml": parsing(normal_xml, roots["hit-uav"], lambda item: normal_xml.read(item).objects),
            "robndbox_xml": parsing(rotate_xml, roots["hit-uav"], lambda item: rotate_xml.read(item).objects),
            "dota_txt": parsing(dota, roots["dota"], lambda item: dota.read(item).objects),
        }
        if arguments.files:
            result["discovery"] = discovery(Path(folder) / "many", arguments.files)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def source_root(name: str, genuine: Path | None, folder: Path) -> Path:
    """The genuine sample of a source, or a generated one."""
    if genuine:
        return genuine / {"hit-uav": "hit-uav", "dota": "dota-v1.0"}[name]
    samples.write(name, folder / name)
    return folder / name


def parsing(source: converters.Converter, root: Path, read: Callable[[Item], Sequence]) -> dict:
    """Files and objects that `read` gives a second on one core: passes over the training split for some seconds."""
    items = source.discover(root, "train").items
    files = objects = 0
    started = time.process_time()
    while time.process_time() - started < SECONDS:
        for item in items:
            objects += len(read(item))
            files += 1
    seconds = time.process_time() - started
    return {
        "files": files,
        "objects": objects,
        "files_per_second": files / seconds,
        "objects_per_second": objects / seconds,
    }


def discovery(folder: Path, count: int) -> dict:
    """Seconds and peak memory of discovering `count` images of class folders, in a fresh process."""
    labels = [label for label in converters.facts("ucmerced").classes]
    for number in range(count):
        place = folder / "UCMerced_LandUse" / "Images" / labels[number % len(labels)]
        if number < len(labels):
            place.mkdir(parents=True)
        (place / f"{labels[number % len(labels)]}{number:07d}.tif").touch()
    words = [sys.executable, "-m", "benchmarks.annotations", "--out", "-", "--discover", str(folder)]
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def discover(folder: Path) -> dict:
    """Discover both splits once."""
    source = converters.get("ucmerced")
    started = time.perf_counter()
    found = sum(len(source.discover(folder, split).items) for split in source.splits)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"images": found, "seconds": time.perf_counter() - started, "peak_bytes": peak}


if __name__ == "__main__":
    main()
