"""Tasks for tests of engines: functions that worker processes can import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from mmrs.errors import BadItem


def square(number: int) -> int:
    return number * number


def die_once(task: tuple[int, str]) -> int:
    """Every third number kills its process at the first attempt; a marker file remembers the attempts."""
    number, folder = task
    marker = Path(folder) / str(number)
    if number % 3 == 0 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_always(task: tuple[int, str]) -> int:
    """Number 2 kills its process whenever it is tried."""
    number, folder = task
    with (Path(folder) / str(number)).open("a") as marker:
        marker.write("x")
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fail(number: int) -> int:
    if number == 2:
        raise BadItem("broken on purpose", "some/file", 7)
    return number


def sleep(task: tuple[float, str]) -> str:
    """Sleeps after it has left a file with its process id."""
    seconds, marker = task
    Path(marker).write_text(str(os.getpid()))
    time.sleep(seconds)
    return marker
