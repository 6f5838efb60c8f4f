"""Engines run a function over tasks. Nothing in the output depends on the engine or on the order of results."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_tasks(function: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Iterator[tuple[int, Result]]:
    """Yield (position, result) of every task as it completes, in any order.

    One worker runs in this process; more run in a pool of fresh processes, so no thread or lock of this process is
    inherited. An exception of a task ends the run: tasks not yet started are cancelled, running ones finish.
    """
    if workers <= 1 or len(tasks) <= 1:
        for position, task in enumerate(tasks):
            yield position, function(task)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context, initializer=_leave_ctrl_c) as pool:
        futures = {pool.submit(function, task): position for position, task in enumerate(tasks)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _leave_ctrl_c() -> None:
    # Ctrl-C reaches the whole process group; only the parent decides what happens then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
