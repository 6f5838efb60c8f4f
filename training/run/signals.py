"""Stopping between two optimiser steps: signals are noted, the loop asks, the run ends with a checkpoint."""

from __future__ import annotations

import signal
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

EX_TEMPFAIL = 75
REQUEUE_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class RunStopped(SystemExit):
    """The run was asked to stop and has written its checkpoint; the same command continues it.

    A `SystemExit`, so that an uncaught one ends the process with the right code.
    """

    def __init__(self, message: str, exit_code: int):
        super().__init__(exit_code)
        self.message = message

    def __str__(self) -> str:
        return self.message


class Requeue(RunStopped):
    """SIGTERM or SIGUSR1: exit code 75 (EX_TEMPFAIL of sysexits.h), for schedulers to start the job again."""

    def __init__(self, message: str):
        super().__init__(message, EX_TEMPFAIL)


class Interrupted(RunStopped):
    """Ctrl-C: exit code 130, as shells report it."""

    def __init__(self, message: str):
        super().__init__(message, 128 + signal.SIGINT)


@dataclass
class StopRequest:
    """The first stop signal received, if any."""

    received: signal.Signals | None = None


def raise_stopped(received: signal.Signals, message: str) -> NoReturn:
    """End the run in the way that the signal asks for."""
    if received == signal.SIGINT:
        raise Interrupted(message)
    raise Requeue(message)


@contextmanager
def listen_for_stop(request: StopRequest, signals: Collection[signal.Signals]) -> Iterator[None]:
    """Note signals in `request` while the block runs, instead of ending. A second Ctrl-C ends the process at once.

    Outside the main thread, where Python allows no handlers, nothing is noted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, frame: FrameType | None) -> None:
        request.received = request.received or signal.Signals(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    previous = {number: signal.signal(number, note) for number in signals}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
