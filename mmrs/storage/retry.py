"""Trying again, once for all: reads of a network, uploads to the Hub, manifests that arrive damaged.

`tenacity` would do; these lines give each user its own error text, and raise it outside of the handler, so that no
traceback leads to a request with its headers.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a request is tried, how long between two tries, and after how many silent seconds one is given up.

    Waits double from `first_wait_seconds` to `longest_wait_seconds`: about two minutes of outage with the defaults.
    """

    tries: int = 9
    first_wait_seconds: float = 0.5
    longest_wait_seconds: float = 30.0
    stall_seconds: float = 30.0

    def waits(self, name: str) -> Iterator[float]:
        """The seconds between tries of what is called `name`: half of each is by chance, so that processes which
        failed together do not come back together."""
        rng = random.Random(f"{name}/{os.getpid()}")
        wait_seconds = self.first_wait_seconds
        for _ in range(self.tries - 1):
            yield wait_seconds * rng.uniform(0.5, 1.0)
            wait_seconds = min(2 * wait_seconds, self.longest_wait_seconds)


DEFAULT_PATIENCE = Patience()


def _sleep(seconds: float, error: Exception) -> None:
    time.sleep(seconds)


def retried(
    request: Callable[[], T],
    on: tuple[type[Exception], ...],
    waits_seconds: Iterable[float],
    failure: Callable[[Exception, int, bool], Exception | None],
    pause: Callable[[float, Exception], object] = _sleep,
) -> T:
    """``request()``, again after each of the waits while it raises one of `on`.

    Args:
        failure: the error to end with, told what was raised, by which try (from 1), and whether that was the last one;
            None: another try. It must not be None for the last one.
        pause: waits so many seconds before another try, told what was raised: a server may have asked for more.
    """
    waits = iter(waits_seconds)
    tried = 0
    while True:
        tried += 1
        wait_seconds = next(waits, None)
        try:
            return request()
        except on as error:
            raised = error
            final = failure(error, tried, wait_seconds is None)
        if final is not None:
            raise final
        if wait_seconds is None:
            raise ValueError("`failure` gave no error for the last try")
        pause(wait_seconds, raised)
