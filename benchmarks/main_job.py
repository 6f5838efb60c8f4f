"""The main job, end to end, with its figures: `python -m benchmarks.main_job [--hit-uav DIR] --out RESULT.json`.

1. With --hit-uav (a folder with HIT-UAV or a part of it): every layout is built with one and with two workers and once
   more, verified, compared by digest; the layouts are compared object by object.
2. The demo: sample, build, verify, train, eval in `--folder`, timed step by step from nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

from benchmarks.machine import describe

LAYOUTS = ("rotate_json", "normal_json", "normal_xml", "rotate_xml")
MMRS = (sys.executable, "-m", "cli", "--quiet")


def main() -> None:
    """Run both parts and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hit-uav", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("demo-output/main-job"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    shutil.rmtree(arguments.folder, ignore_errors=True)
    result = {"date": date.today().isoformat(), "machine": describe()}
    if arguments.hit_uav:
        result["hit_uav"] = hit_uav(arguments.hit_uav, arguments.folder / "hit-uav")
    result["demo"] = demo(arguments.folder / "demo")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written: {arguments.out}")


def hit_uav(root: Path, folder: Path) -> dict:
    """Counts, verification and digests of every layout's builds, and the disagreements between layouts."""
    layouts = {}
    for layout in LAYOUTS:
        digests, seconds = set(), {}
        for name, workers in (("one-worker", 1), ("two-workers", 2), ("again", 1)):
            out = folder / f"{layout}-{name}"
            options = f"sources.0.options={{layout: {layout}}}"
            words = ("build", "hit-uav", "--root", f"hit-uav={root}", "--out", out, "--set", options)
            seconds[name] = run(*words, "--set", "shard_bytes=6000000", "--workers", workers)[1]
            digests.add(digest(out))
        verified, _ = run("verify", out, "--workers", 2)
        manifest = json.loads((out / "manifest.json").read_text())
        layouts[layout] = {
            "splits": manifest["sources"]["hit-uav"]["splits"],
            "shards": len(manifest["shards"]),
            "verify": verified.strip(),
            "byte_identical_builds": len(digests) == 1,
            "seconds": seconds,
        }
    compared, _ = run("scan", "hit-uav", root, "--compare-layouts", "--json")
    return {"layouts": layouts, "disagreements": json.loads(compared)}


def demo(folder: Path) -> dict:
    """The demo's wall time and the scores of the model that it trained."""
    started = time.perf_counter()
    subprocess.run([*MMRS, "demo", "--out", str(folder)], check=True)
    seconds = time.perf_counter() - started
    steps = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    return {
        "seconds": seconds,
        "training_seconds": sum(step["seconds"] for step in steps),
        "steps": len(steps),
        "first": steps[0],
        "last": steps[-1],
        "plan": json.loads((folder / "run" / "plan.json").read_text()),
        "scores": json.loads((folder / "scores" / "scores.json").read_text())["scores"],
    }


def run(*words) -> tuple[str, float]:
    """Standard output and wall seconds of one command; a failure ends the benchmark with its message."""
    started = time.perf_counter()
    result = subprocess.run([*MMRS, *map(str, words)], capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"mmrs {' '.join(map(str, words))} ended with {result.returncode}:\n{result.stderr}")
    return result.stdout, time.perf_counter() - started


def digest(folder: Path) -> str:
    """sha256 over the names and bytes of every published file."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and ".build" not in path.parts):
        total.update(str(path.relative_to(folder)).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


if __name__ == "__main__":
    main()
