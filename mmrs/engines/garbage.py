"""Fewer passes of Python's cycle collector while a task makes many objects that have no cycles.

Annotations and records of a block of images are some ten thousand objects: at the usual threshold of 700 the collector
looks at them again and again, for a fifth of the time that reading takes, and finds nothing.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_NEW_OBJECTS = 50_000


def collect_rarely() -> None:
    """From now on cycles are looked for after every 50,000 new objects, in the whole process."""
    before = gc.get_threshold()
    gc.set_threshold(max(before[0], _NEW_OBJECTS) if before[0] else 0, *before[1:])


@contextmanager
def rare_collections() -> Iterator[None]:
    """`collect_rarely` while it is held."""
    before = gc.get_threshold()
    collect_rarely()
    try:
        yield
    finally:
        gc.set_threshold(*before)
