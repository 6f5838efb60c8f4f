"""One measured run in a fresh process: wall time, processor time (its children's too) and memory."""

from __future__ import annotations

import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from pathlib import Path
from typing import Any


def measured(work: Callable[[], Mapping[str, Any] | None]) -> dict[str, Any]:
    """Run `work`; what it returned, with wall and processor seconds and the peak memory of this process alone.

    `children_cpu_seconds` are those of ended child processes, their start included; `cpu_seconds` is the sum.
    """
    gc.collect()
    own, children, started = _cpu_seconds(), _cpu_seconds(resource.RUSAGE_CHILDREN), time.perf_counter()
    extra = work() or {}
    seconds = time.perf_counter() - started
    own_end, children_end = cpu_seconds_of_all()
    own, children = own_end - own, children_end - children
    times = {"seconds": seconds, "cpu_seconds": own + children, "children_cpu_seconds": children}
    return {**times, "peak_rss_bytes": peak_rss(), **extra}


def in_fresh_process(module: str, words: Sequence[Any]) -> dict[str, Any]:
    """Run ``python -m module words...``, which prints one line of JSON last, and return that."""
    command = [sys.executable, "-m", module, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def interleaved(names: Sequence[str], repetitions: int, run: Callable[[str], dict[str, Any]]) -> dict[str, list[dict]]:
    """`repetitions` rounds in which every name runs once; each round starts with another name."""
    results: dict[str, list[dict]] = {name: [] for name in names}
    for repetition in range(repetitions):
        shift = repetition % len(names)
        for name in (*names[shift:], *names[:shift]):
            results[name].append(run(name))
            print(f"{repetition + 1}/{repetitions} {name}: {results[name][-1]['seconds']:.2f} s", file=sys.stderr)
    return results


def paired(ours: Sequence[dict], theirs: Sequence[dict], field: str = "seconds") -> dict[str, float]:
    """How many times as fast as `theirs`, round by round: median, least, greatest; and the ratio of the best runs."""
    ratios = [other[field] / own[field] for own, other in zip(ours, theirs, strict=True)]
    best = min(other[field] for other in theirs) / min(own[field] for own in ours)
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios), "best_of_each": best}


def warm(paths: Sequence[Path]) -> None:
    """Bring files into the page cache and earlier writes to the disk, so that no run pays for another's."""
    os.sync()
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 20):
                pass


def peak_rss() -> int:
    """Largest resident size of this process so far, in bytes. (`ru_maxrss` starts with the parent's size.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def cpu_seconds_of_all() -> tuple[float, float]:
    """Processor seconds so far of this process, and of its children that have ended.

    The process that workers are forked from is ended for it: what they took counts through it.
    """
    forkserver._forkserver._stop()  # type: ignore[attr-defined]
    return _cpu_seconds(), _cpu_seconds(resource.RUSAGE_CHILDREN)


def _cpu_seconds(whose: int = resource.RUSAGE_SELF) -> float:
    usage = resource.getrusage(whose)
    return usage.ru_utime + usage.ru_stime


@contextmanager
def workers_peak() -> Iterator[list[int]]:
    """Peak resident bytes of each process below this one, largest first, sampled ten times a second.

    What the system says of a child that has ended (`resource.getrusage`) includes its parent's size when it was forked.
    """
    peaks: dict[str, int] = {}
    found: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            for child in _descendants("self"):
                peaks[child] = max(peaks.get(child, 0), _peak_of(child))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()
        found += sorted(peaks.values(), reverse=True)


def _descendants(process: str) -> list[str]:
    found: list[str] = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            for child in path.read_text().split():
                found += [child, *_descendants(child)]
    return found


def _peak_of(process: str) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
