"""Peak memory and speed of cutting one large scene into tiles: `python -m benchmarks.large_scene --out RESULT.json`.

Each case writes a scene of `--side` pixels into `--folder` and cuts it as a shard build does: limits of the whole
scene, windows of 1,024 px with 200 px overlap, encoded into the spool on disk. Making and cutting run in processes of
their own; the peak is the cutting process's maximum resident size (`resource.getrusage`), libraries included.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from benchmarks.machine import describe
from mmrs.builder.plan import PlannedSample
from mmrs.builder.spool import open_rows, open_tiles
from mmrs.imaging.limits import SCENE
from mmrs.imaging.probe import probe
from mmrs.imaging.windows import plan_windows
from mmrs.record import Sensor
from mmrs.source import BandSelection, Item, Tiling

LIMIT_BYTES = 10**9


@dataclass(frozen=True)
class Case:
    """A kind of scene: type and number of bands, file format with GDAL's options, and its sensor."""

    dtype: str
    bands: int
    driver: str
    options: dict[str, str]
    sensor: Sensor


CASES = {
    "sar-uint16-tiff": Case("uint16", 1, "GTiff", {}, "sar"),
    "sar-float32-tiff": Case("float32", 1, "GTiff", {"TILED": "YES"}, "sar"),
    "optical-uint16-rgb-tiff": Case("uint16", 3, "GTiff", {}, "optical"),
    "optical-uint8-rgb-png": Case("uint8", 3, "PNG", {"ZLEVEL": "1"}, "optical"),
}


@dataclass(frozen=True)
class Scenes:
    """What `open_tiles` asks of a source."""

    sensor: Sensor
    bands: BandSelection | None = None


def main() -> None:
    """Run every case and write one JSON file; a case over the limit fails the run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, default=Path("demo-output/large-scene"))
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--step", choices=("make", "cut"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    names = arguments.case or list(CASES)
    if arguments.step == "make":
        make(CASES[names[0]], scene_path(arguments.folder, names[0]), arguments.side)
    elif arguments.step == "cut":
        print(json.dumps(cut(CASES[names[0]], scene_path(arguments.folder, names[0]))))
    elif arguments.out is None:
        parser.error("--out is needed")
    else:
        measured = {name: run_case(name, arguments.folder, arguments.side) for name in names}
        result = {"date": date.today().isoformat(), "machine": describe(), "side_pixels": arguments.side}
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result | {"limit_bytes": LIMIT_BYTES, "cases": measured}, indent=2) + "\n")
        print(f"written: {arguments.out}")
        over = [name for name, figures in measured.items() if figures["peak_rss_bytes"] > LIMIT_BYTES]
        if over:
            sys.exit(f"more than {LIMIT_BYTES:,} bytes: {', '.join(over)}")


def scene_path(folder: Path, name: str) -> Path:
    """Where the scene of a case lies."""
    return folder / f"{name}.{'png' if CASES[name].driver == 'PNG' else 'tiff'}"


def run_case(name: str, folder: Path, side: int) -> dict:
    """Make and cut one scene, each in its own process, and delete it."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "benchmarks.large_scene", "--folder", str(folder), "--case", name]
    try:
        subprocess.run([*words, "--side", str(side), "--step", "make"], check=True)
        file_bytes = scene_path(folder, name).stat().st_size
        done = subprocess.run([*words, "--step", "cut"], check=True, capture_output=True, text=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    figures = json.loads(done.stdout) | {"file_bytes": file_bytes}
    print(f"{name}: {figures['peak_rss_bytes'] / 1e6:.0f} MB, {figures['seconds']:.1f} s, {figures['tiles']} tiles")
    return figures


def make(case: Case, path: Path, side: int) -> None:
    """Write a scene of speckle with bright spots, a strip at a time."""
    import rasterio
    from rasterio.shutil import copy

    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    patch = rng.rayleigh(60, (case.bands, 512, side + 512))
    patch[rng.random(patch.shape) < 1e-4] *= 30
    patch = np.minimum(patch, 255 if case.dtype == "uint8" else 65535).astype(case.dtype)
    written = path.with_suffix(".made.tiff")
    profile = {"driver": "GTiff", "width": side, "height": side, "count": case.bands, "dtype": case.dtype}
    options = case.options if case.driver == "GTiff" else {}
    with rasterio.open(written, "w", **profile, **options) as file:
        for y in range(0, side, 512):
            rows, shift = min(512, side - y), int(rng.integers(512))
            strip = patch[:, :rows, shift : shift + side]
            file.write(strip, window=rasterio.windows.Window(0, y, side, rows))
    if case.driver == "GTiff":
        written.rename(path)
    else:
        copy(str(written), str(path), driver=case.driver, **case.options)
        written.unlink()


def cut(case: Case, path: Path) -> dict:
    """Tiles, seconds, bytes of all tiles, and the process's peak resident size."""
    started = time.perf_counter()
    header = probe(path, SCENE)
    item = Item(path.stem, path)
    windows = plan_windows(header.width, header.height, Tiling())
    samples = [PlannedSample(item, header, window) for window in windows]
    with (
        open_rows(samples, path.parent) as rows,
        open_tiles(samples, Scenes(case.sensor), "png", path.parent, rows) as tiles,
    ):
        encoded = sum(len(tiles.image(sample.stem).data) for sample in samples)
        rule = tiles.image(samples[0].stem).render
    return {
        "tiles": len(samples),
        "seconds": time.perf_counter() - started,
        "encoded_bytes": encoded,
        "rule": rule,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


if __name__ == "__main__":
    main()
