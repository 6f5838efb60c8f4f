"""Training beside other programs: `python -m benchmarks.busy --out RESULT.json`.

The tiny model trains in T threads on C cores while N other programs compute without a pause, one thread each, all at
the same priority. A scheduler that gives every thread as much leaves training T of T + N threads' worth of C cores, at
most T; `of_fair_share` is what it made of that: target tokens per second of wall time, over those beside nobody times
its share of the cores. Rounds go through the numbers of programs in turn.

Other programs of the machine disturb it: start it with `nice -n -15`, which the programs of the measurement inherit.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path

from benchmarks.machine import describe

ROOT = Path(__file__).parents[1]
BUSY = "while True: pass"
# As the command `mmrs` starts OpenMP.
SPINS = "1000"


def main() -> None:
    """Measure and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, nargs="+", default=[0, 1, 2, 4])
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1])
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--spins", default=SPINS, help="GOMP_SPINCOUNT of the training")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.cores])
    runs = []
    for number in range(given.rounds):
        for threads in given.threads:
            for programs in sorted({0, *given.programs}):
                run = {"threads": threads, "programs": programs, "round": number}
                runs.append(run | train_beside(programs, threads, given.images, given.spins))
                print(json.dumps(runs[-1]), flush=True)
    result = {
        "date": date.today().isoformat(),
        "machine": describe() | {"cores_used": given.cores},
        "spins": given.spins,
        "images": given.images,
        "summary": summary(runs, given.cores),
        "runs": runs,
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=2) + "\n")
    for line in result["summary"]:
        print(json.dumps(line))


@contextmanager
def busy_programs(count: int) -> Iterator[None]:
    """So many programs that compute without a pause while the context lasts."""
    with ExitStack() as stack:
        for _ in range(count):
            program = subprocess.Popen([sys.executable, "-c", BUSY])
            stack.callback(program.wait)
            stack.callback(program.kill)
        yield


def train_beside(programs: int, threads: int, images: int, spins: str) -> dict[str, float]:
    """Rates of one training beside so many busy programs, by wall and by processor time."""
    with tempfile.TemporaryDirectory() as folder, busy_programs(programs):
        out = Path(folder) / "trainer.json"
        command = [sys.executable, "-m", "benchmarks.trainer", "--only", "ours", "--rounds", "1"]
        command += ["--images", str(images), "--threads", str(threads), "--out", str(out)]
        subprocess.run(
            command, cwd=ROOT, env=os.environ | {"GOMP_SPINCOUNT": spins}, check=True, stdout=subprocess.DEVNULL
        )
        part = json.loads(out.read_text())["parts"][0]
    return {
        "target_tokens_per_second": part["target_tokens_per_second"],
        "target_tokens_per_processor_second": part["target_tokens_per_processor_second"],
    }


def fair_share(programs: int, threads: int, cores: int) -> float:
    """The part of the cores that training can use beside nobody which remains to it, where all threads get as much."""
    each = min(1.0, cores / (threads + programs))
    return threads * each / min(threads, cores)


def summary(runs: list[dict], cores: int) -> list[dict]:
    """Medians over rounds for each number of threads and programs, against the fair share."""
    lines = []
    for threads, programs in dict.fromkeys((run["threads"], run["programs"]) for run in runs):
        rates = _medians(runs, threads, programs)
        alone = _medians(runs, threads, 0)
        share = fair_share(programs, threads, cores)
        wall, processor = "target_tokens_per_second", "target_tokens_per_processor_second"
        lines.append(
            {"threads": threads, "programs": programs}
            | rates
            | {
                "fair_share": round(share, 3),
                "of_alone": round(rates[wall] / alone[wall], 3),
                "of_fair_share": round(rates[wall] / alone[wall] / share, 3),
                "of_alone_by_processor_time": round(rates[processor] / alone[processor], 3),
            }
        )
    return lines


def _medians(runs: list[dict], threads: int, programs: int) -> dict[str, float]:
    chosen = [run for run in runs if (run["threads"], run["programs"]) == (threads, programs)]
    names = ("target_tokens_per_second", "target_tokens_per_processor_second")
    return {name: statistics.median(run[name] for run in chosen) for name in names}


if __name__ == "__main__":
    main()
