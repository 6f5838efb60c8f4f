"""Runs that are killed and requeued: `python -m benchmarks.preemption --out RESULT.json`.

The command `mmrs train` runs as real processes on generated scenes, once without interruption and then, for each number
of ranks, twice more: killed with SIGKILL at random moments, and stopped with SIGTERM at random moments, started again
with the same command each time. A quarter of the moments are drawn within the first seconds of a process, when it still
loads, the others over the steps of the run. Reported: whether weights, optimiser state and stream pointer are those of
the uninterrupted run bit for bit, whether the metrics hold each step once with equal losses, how many steps were
computed again, and the exit code of every stopped process.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.machine import describe
from training.report.monitor import METRICS, read_metrics
from training.run.checkpoint import checkpoint_step, latest_checkpoint

ROOT = Path(__file__).parents[1]
MMRS = (sys.executable, "-c", "import cli; cli.main()")
SECONDS_TO_LOAD = 12.0
TIMEOUT_S = 300
OVERRIDES = (
    "model.vocab_size=512",
    "tokens_per_pack=600",
    "tokens_per_step=1200",
    "checkpoint.every_steps=5",
    "log.tensorboard=false",
    "threads=1",
    "workers=1",
)
VOLATILE = {"seconds", "target_tokens_per_second", "input_tokens_per_second", "data_wait_share", "memory_mb", "mfu"}


@dataclass
class Stops:
    """What happened to the processes of one run."""

    at_step: list[int] = field(default_factory=list)
    repeated_steps: list[int] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    while_loading: int = 0
    seconds: float = 0.0


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--stops", type=int, default=20, help="signals of each kind")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = measure(Path(folder), given.stops, given.steps, given.ranks, given.images, given.seed)
    result = {
        "date": date.today().isoformat(),
        "machine": describe(),
        "stops": given.stops,
        "steps": given.steps,
        "seed": given.seed,
        "overrides": list(OVERRIDES),
        "runs": runs,
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written: {given.out}")
    if not all(run["same_bytes"] and run["same_metrics"] for run in runs):
        raise SystemExit("a run ended with other bytes than the uninterrupted one")


def measure(work: Path, stops: int, steps: int, ranks: list[int], images: int, seed: int) -> list[dict[str, Any]]:
    """One entry for each number of ranks and kind of signal."""
    _mmrs("sample", "ucmerced", "--out", str(work / "raw"), "--set", f"images_per_class={-(-images // 21)}")
    recipe = work / "build.yaml"
    recipe.write_text("sources:\n  - name: ucmerced\n    splits: [train]\n")
    _mmrs("build", str(recipe), "--root", f"ucmerced={work / 'raw'}", "--out", str(work / "shards"), "--workers", "1")
    results = []
    for size in ranks:
        straight = work / f"straight-{size}"
        _Run(straight, work / "shards", steps, size).finish()
        for kind in (signal.SIGKILL, signal.SIGTERM):
            out = work / f"{kind.name}-{size}"
            run = _Run(out, work / "shards", steps, size)
            done = interrupted(run, kind, stops, random.Random(f"{seed}/{size}/{kind.name}"))
            same_bytes = _state(out) == _state(straight)
            entry = {
                "ranks": size,
                "signal": kind.name,
                "signals_sent": stops,
                "processes_ended_by_them": len(done.exit_codes),
                "same_bytes": same_bytes,
                "same_metrics": _metrics(out) == _metrics(straight),
                "while_loading": done.while_loading,
                "stopped_at_step": done.at_step,
                "repeated_steps": done.repeated_steps,
                "repeated_steps_median": median(done.repeated_steps),
                "exit_codes": sorted(set(done.exit_codes)),
                "seconds": round(done.seconds, 1),
            }
            print(json.dumps(entry), flush=True)
            results.append(entry)
    return results


@dataclass
class _Run:
    """`mmrs train tiny` into `out`, with one process per rank as a scheduler would start them."""

    out: Path
    shards: Path
    steps: int
    ranks: int

    def start(self) -> list[subprocess.Popen]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        values = (*OVERRIDES, f"data.folders={self.shards}", f"out={self.out}", f"data.cache={self.out}-cache")
        length = ("epochs=null", f"max_steps={self.steps}")
        command = [*MMRS, "train", "tiny", *(part for value in (*values, *length) for part in ("--set", value))]
        environment = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
        return [
            subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(self.ranks)},
                stdout=subprocess.DEVNULL,
                stderr=(self.out.parent / f"{self.out.name}-rank-{rank}.txt").open("w"),
                start_new_session=True,
            )
            for rank in range(self.ranks)
        ]

    def finish(self) -> list[int]:
        """Run to the end. Raises RuntimeError with the last lines of a rank that failed."""
        codes = [process.wait(timeout=TIMEOUT_S) for process in self.start()]
        if any(codes):
            log = self.out.parent / f"{self.out.name}-rank-{codes.index(max(codes, key=abs))}.txt"
            raise RuntimeError(f"exit codes {codes}: {log.read_text()[-2000:]}")
        return codes

    def steps_done(self) -> int:
        """Steps in the metrics."""
        path = self.out / METRICS
        return path.read_bytes().count(b"\n") if path.is_file() else 0

    def steps_saved(self) -> int:
        """Steps in the newest checkpoint."""
        newest = latest_checkpoint(self.out / "checkpoints")
        return checkpoint_step(newest) if newest else 0


def interrupted(run: _Run, kind: signal.Signals, count: int, rng: random.Random) -> Stops:
    """Stop the run `count` times, then let it end."""
    stops, began = Stops(), time.perf_counter()
    early = set(rng.sample(range(count), count // 4))
    late = sorted(rng.randrange(1, run.steps - 1) for _ in range(count - len(early)))
    targets = iter(late)
    for number in range(count):
        processes = run.start()
        if number in early:
            time.sleep(rng.uniform(0.1, SECONDS_TO_LOAD))
        else:
            _wait_for(run, next(targets), processes)
            time.sleep(rng.uniform(0, 0.4))
        ended = all(process.poll() is not None for process in processes)
        for process in processes:
            _send(process, kind)
        codes = [process.wait(timeout=TIMEOUT_S) for process in processes]
        _reap(processes)
        stops.exit_codes += [] if ended else codes
        done, saved = run.steps_done(), run.steps_saved()
        stops.while_loading += number in early
        stops.at_step.append(done)
        stops.repeated_steps.append(max(0, done - saved))
    run.finish()
    stops.seconds = time.perf_counter() - began
    return stops


def _wait_for(run: _Run, step: int, processes: list[subprocess.Popen]) -> None:
    """Until the run has computed `step` steps in this process, or has ended."""
    # What a killed process computed beyond its checkpoint is still in the metrics until the next one cuts it off.
    deadline = time.monotonic() + TIMEOUT_S
    started = time.time()
    while time.monotonic() < deadline and any(process.poll() is None for process in processes):
        path = run.out / METRICS
        if path.is_file() and path.stat().st_mtime > started and run.steps_done() >= step:
            return
        time.sleep(0.02)


def _send(process: subprocess.Popen, kind: signal.Signals) -> None:
    """To the whole group: a machine that dies takes the loader's workers along, a scheduler signals them too."""
    try:
        os.killpg(process.pid, kind)
    except ProcessLookupError:
        return


def _reap(processes: list[subprocess.Popen]) -> None:
    """End what outlived its main process."""
    for process in processes:
        _send(process, signal.SIGKILL)


def _state(out: Path) -> dict[str, str]:
    """Digests of all that must be equal: result, and the newest checkpoint's tensors and pointer."""
    newest = latest_checkpoint(out / "checkpoints")
    if newest is None:
        return {}
    files = [*sorted(newest.glob("*.safetensors")), newest / "state.json", out / "model" / "model.safetensors"]
    return {file.name: sha256(file.read_bytes()).hexdigest() for file in files}


def _metrics(out: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key not in VOLATILE} for line in read_metrics(out / METRICS)]


def _mmrs(*arguments: str) -> None:
    subprocess.run([*MMRS, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=TIMEOUT_S)


if __name__ == "__main__":
    main()
