"""What strangers can try: `python -m benchmarks.attacks --out RESULT.json`; held and failed, by kind.

Each attempt prepares what a stranger would leave (files, links, archives, answers of a server), types real commands in
a process of its own, and is held where none of this happened: code of the stranger ran; a file of somebody else changed
or went; a secret or a sign that a terminal obeys was printed or stored; a traceback or "a fault of the program" was
shown; what is sound was refused or what is not was taken, where the attempt says which; more than 30 s of CPU time or
1 GiB of memory were used. `benchmarks.attack_kinds` has the attempts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from datetime import date
from pathlib import Path

from benchmarks.attack_kinds import (
    annotations,
    answers,
    archives,
    data_sets,
    foreign_code,
    full_disk,
    names,
    outputs,
    pictures,
    secrets,
    servers,
)
from benchmarks.attack_kinds.runner import MOST_CPU_SECONDS, MOST_GROWTH_BYTES, Result, try_out
from benchmarks.attack_kinds.sound import make_all
from benchmarks.machine import describe

PARTS = (foreign_code, outputs, archives, annotations, pictures, answers, names, data_sets, servers, secrets, full_disk)


def main() -> None:
    """Try all attempts, or those whose kind or name holds a text. Exit code 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], help="attempts whose kind or name has this; repeatable")
    parser.add_argument("--every", type=int, default=1, help="every n-th attempt alone")
    parser.add_argument("--base", type=Path, help="folder of the sound things; made where it is not there")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    chosen = [
        attempt
        for part in PARTS
        for attempt in part.attempts()
        if not arguments.only or any(word in f"{attempt.kind}: {attempt.name}" for word in arguments.only)
    ][:: arguments.every]
    results: list[Result] = []
    _import_all()
    with tempfile.TemporaryDirectory() as folder:
        base = arguments.base or Path(folder) / "base"
        if not base.exists():
            base.mkdir()
            make_all(base)
        for number, attempt in enumerate(chosen):
            results.append(try_out(attempt, base, Path(folder) / f"{number:05d}"))
            _tell(results[-1])
            if arguments.out is not None and (number % 50 == 0 or number == len(chosen) - 1):
                _write(arguments.out, results)
    _summarise(results)
    sys.exit(1 if any(result.wrong for result in results) else 0)


def _import_all() -> None:
    """Import what commands import late, so that a child has it; none of it is run here, or threads would be made."""
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    import matplotlib.figure
    import polars
    import pyarrow.parquet
    import rasterio
    import transformers

    import cli
    import converters
    import training.evaluation.run
    import training.run

    _ = (matplotlib, polars, pyarrow, rasterio, transformers, cli, converters, training)


def _tell(result: Result) -> None:
    if result.wrong:
        print(f"FAILED {result.kind}: {result.name}: {'; '.join(result.wrong)[:500]}", flush=True)


def _summarise(results: Iterable[Result]) -> None:
    held, failed = Counter[str](), Counter[str]()
    for result in results:
        (failed if result.wrong else held)[result.kind] += 1
    print(f"{'kind':<24}{'held':>8}{'failed':>8}")
    for kind in sorted(held | failed):
        print(f"{kind:<24}{held[kind]:>8}{failed[kind]:>8}")
    print(f"{'all':<24}{held.total():>8}{failed.total():>8}")


def _write(path: Path, results: list[Result]) -> None:
    started = time.strftime("%H:%M")
    content = {
        "date": date.today().isoformat(),
        "written": started,
        "machine": describe(),
        "most_cpu_seconds": MOST_CPU_SECONDS,
        "most_growth_bytes": MOST_GROWTH_BYTES,
        "held": sum(not result.wrong for result in results),
        "failed": sum(bool(result.wrong) for result in results),
        "attempts": [
            {key: value for key, value in asdict(result).items() if key != "said" or result.wrong} for result in results
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
