"""Each attempt in a process of its own, whose memory and time are bounded and measured."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.attack_kinds.scene import Attempt, Scene, fingerprint

MOST_CPU_SECONDS = 30.0
MOST_GROWTH_BYTES = 2**30
# What ends an attempt: far above the bounds, so that what is over them can be measured.
_CPU_SECONDS, _ADDRESS_BYTES, _WALL_SECONDS, _FILE_BYTES = 90, 24 * 2**30, 600.0, 4 * 2**30


@dataclass(frozen=True)
class Result:
    """What became of an attempt; it is held where nothing is `wrong`."""

    kind: str
    name: str
    wrong: tuple[str, ...]
    said: tuple[str, ...]
    cpu_seconds: float
    grown_bytes: int


def try_out(attempt: Attempt, base: Path, folder: Path) -> Result:
    """Run an attempt in a child."""
    folder.mkdir()
    scene = Scene(folder / "scene", base)
    scene.folder.mkdir()
    before = fingerprint(scene.outside)
    report, printed = folder / "report.json", folder / "printed.txt"
    start_bytes = _resident_bytes()
    child = os.fork()
    if child == 0:
        _be_the_child(attempt, scene, report, printed)
    status, usage, is_late = _wait(child)
    wrong, said = _reported(report, status)
    text = printed.read_text(errors="replace") if printed.exists() else ""
    scene.wrong, scene.said = wrong, said
    scene.check_text(text, "beside the command's own output")
    cpu_seconds = usage.ru_utime + usage.ru_stime
    grown_bytes = max(0, usage.ru_maxrss * 1024 - start_bytes)
    scene.claim(not is_late, f"no end after {_WALL_SECONDS:.0f} s")
    scene.claim(cpu_seconds <= MOST_CPU_SECONDS, f"{cpu_seconds:.0f} s of CPU time")
    scene.claim(grown_bytes <= MOST_GROWTH_BYTES, f"{grown_bytes / 2**20:.0f} MiB of memory")
    scene.claim(fingerprint(scene.outside) == before, "changed files of somebody else")
    scene.claim(not (scene.folder / "ran").exists(), "ran code of a stranger")
    _remove(folder)
    return Result(attempt.kind, attempt.name, tuple(wrong), tuple(said), round(cpu_seconds, 2), grown_bytes)


def _be_the_child(attempt: Attempt, scene: Scene, report: Path, printed: Path) -> None:
    os.setsid()
    for what, most in (
        (resource.RLIMIT_CPU, _CPU_SECONDS),
        (resource.RLIMIT_AS, _ADDRESS_BYTES),
        (resource.RLIMIT_FSIZE, _FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    target = os.open(printed, os.O_WRONLY | os.O_CREAT, 0o600)
    for descriptor in (1, 2):
        os.dup2(target, descriptor)
    os.environ |= {
        "XDG_CACHE_HOME": str(scene.folder / "cache"),
        "HOME": str(scene.folder / "home"),
        "MARK": str(scene.folder / "ran"),
    }
    os.chdir(scene.folder)
    try:
        attempt.act(scene)
    except BaseException:
        scene.wrong.append(f"the attempt itself failed: {traceback.format_exc(limit=-3)}")
    report.write_text(json.dumps({"wrong": scene.wrong, "said": scene.said}))
    sys.stdout.flush()
    os._exit(0)


def _wait(child: int) -> tuple[int, resource.struct_rusage, bool]:
    """Status and usage of the child; it and its children are ended after the limit."""
    deadline, is_late = time.monotonic() + _WALL_SECONDS, False
    while True:
        found, status, usage = os.wait4(child, os.WNOHANG)
        if found:
            break
        if not is_late and time.monotonic() > deadline:
            is_late = True
            _end(child)
        time.sleep(0.02)
    _end(child)
    return status, usage, is_late


def _end(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _reported(report: Path, status: int) -> tuple[list[str], list[str]]:
    if not report.exists():
        return [f"the process ended with status {status} and no report"], []
    content = json.loads(report.read_text())
    return content["wrong"], content["said"]


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _remove(folder: Path) -> None:
    def make_writable(function, path, error):  # type: ignore[no-untyped-def]
        os.chmod(Path(path).parent, 0o700)
        function(path)

    shutil.rmtree(folder, onerror=make_writable)
