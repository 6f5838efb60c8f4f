"""A trace of a few steps by torch's profiler, for the timeline of a browser (``chrome://tracing``, Perfetto)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from training.config import LogConfig

# The first step builds what all later ones find, the second one warms the profiler itself up.
WAITED_STEPS, WARM_UP_STEPS = 1, 1


class StepProfiler(Protocol):
    """Told of the end of each step."""

    def step(self) -> None: ...


class _NoProfiler:
    def step(self) -> None:
        pass


@contextmanager
def profiled(log: LogConfig, out: Path, rank: int) -> Iterator[StepProfiler]:
    """Trace `log.profile_steps` steps into ``OUT/profile/trace-rank-N.json``; nothing where that is 0."""
    if not log.profile_steps:
        yield _NoProfiler()
        return
    folder = out / "profile"
    folder.mkdir(parents=True, exist_ok=True)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]

    def write(profiler: profile) -> None:
        profiler.export_chrome_trace(str(folder / f"trace-rank-{rank}.json"))

    plan = schedule(wait=WAITED_STEPS, warmup=WARM_UP_STEPS, active=log.profile_steps, repeat=1)
    with profile(activities=activities, schedule=plan, on_trace_ready=write) as profiler:
        yield profiler
