"""What the checks cost sound data: `python -m benchmarks.safety_cost --before TREE --after TREE --out RESULT.json`.

Two checkouts build the same sources and count the same data set in turn, each time in a fresh process. Compared is the
processor time of the whole command (user and system, its children's too), round by round: other work of the machine
weighs on both, and more on wall time. A million rows are indexes alone, written by `benchmarks.duplicates`; both
checkouts must read what this one writes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.duplicates import write_indexes
from benchmarks.machine import describe
from benchmarks.trial import interleaved

MOST_RATIO = 1.02


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="checkout of before the checks")
    parser.add_argument("--after", type=Path, required=True, help="checkout with them")
    parser.add_argument("--source", action="append", default=[], metavar="NAME=ROOT", help="repeatable")
    parser.add_argument("--rows", type=int, default=0, help="of the data set that `mmrs stats` counts; 0: none")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    trees = {"before": options.before, "after": options.after}
    content: dict[str, Any] = {"date": date.today().isoformat(), "machine": describe(), "most_ratio": MOST_RATIO}
    with tempfile.TemporaryDirectory() as folder:
        for source in options.source:
            content[f"build {source.partition('=')[0]}"] = compared(
                {name: build(tree, source, Path(folder)) for name, tree in trees.items()}, options.rounds
            )
        if options.rows:
            data = Path(folder) / "indexes"
            write_indexes(data, options.rows, 0)
            content[f"stats of {options.rows} rows"] = compared(
                {name: command(tree, ["stats", str(data)]) for name, tree in trees.items()}, options.rounds
            )
    options.out.write_text(json.dumps(content, indent=1) + "\n")


def compared(runs: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Both in turn; how many times as much processor time the second takes."""
    results = interleaved(list(runs), rounds, lambda name: runs[name]())
    ratios = [
        after["cpu_seconds"] / before["cpu_seconds"]
        for before, after in zip(results["before"], results["after"], strict=True)
    ]
    least = {name: min(run["cpu_seconds"] for run in of_name) for name, of_name in results.items()}
    found = {
        "median_ratio": round(statistics.median(ratios), 4),
        "ratio_of_least": round(least["after"] / least["before"], 4),
        "least_cpu_seconds": least,
    }
    print(found, flush=True)
    return {**found, "ratios": ratios, "runs": results}


def build(tree: Path, source: str, folder: Path) -> Any:
    """A run that builds a source into a new folder."""

    def run() -> dict[str, float]:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            words = ["build", source.partition("=")[0], "--root", source, "--workers", "1", "--out", f"{out}/shards"]
            return command(tree, words)()

    return run


def command(tree: Path, words: list[str]) -> Any:
    """A run of a command of a checkout; seconds of it."""

    def run() -> dict[str, float]:
        started = time.perf_counter()
        child = os.fork()
        if child == 0:
            os.chdir(tree)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.environ["PYTHONPATH"] = str(tree)
            os.execv(sys.executable, [sys.executable, "-m", "mmrs", "--quiet", *words])
        _, status, usage = os.wait4(child, 0)
        if status:
            sys.exit(f"{tree}: mmrs {' '.join(words)} ended with status {status}")
        return {"seconds": time.perf_counter() - started, "cpu_seconds": usage.ru_utime + usage.ru_stime}

    return run


if __name__ == "__main__":
    main()
