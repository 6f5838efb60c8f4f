"""Engines run a function over tasks. Nothing in the output depends on the engine or on the order of results."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Protocol, TypeVar

from mmrs.errors import RunFailure

Task = TypeVar("Task")
Result = TypeVar("Result")
Say = Callable[[str], None]

# A task whose worker dies this often is at fault itself: chance takes different tasks.
MAX_LOST_WORKERS = 5


class Engine(Protocol):
    """Where tasks run.

    A task whose worker or machine dies is run again, up to `MAX_LOST_WORKERS` times; an exception that a task raises
    ends the run at once. When the run ends early, for whatever reason, its workers are stopped where they are: tasks
    must leave nothing half-written that anyone reads.
    """

    def run(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], name: Callable[[Task], str], say: Say
    ) -> Generator[tuple[int, Result], None, None]:
        """Yield (position, result) of every task as it completes, in any order.

        Args:
            name: what to call a task in messages.
            say: is told of every worker that was lost.

        Raises:
            RunFailure: workers died over one task again and again; names it.
        """
        ...


@dataclass(frozen=True, slots=True)
class ProcessPool:
    """Processes of this machine. One worker, or a single task, runs in this process itself."""

    workers: int

    def run(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], name: Callable[[Task], str], say: Say
    ) -> Generator[tuple[int, Result], None, None]:
        if self.workers <= 1 or len(tasks) <= 1:
            for position, task in enumerate(tasks):
                yield position, function(task)
            return
        waiting = deque(range(len(tasks)))
        running: dict[Future[Result], tuple[int, _Worker]] = {}
        losses = Losses()
        with _Workers(min(self.workers, len(tasks))) as workers:
            while waiting or running:
                while waiting and workers.idle:
                    position, worker = waiting.popleft(), workers.idle.pop()
                    running[worker.submit(function, tasks[position])] = (position, worker)
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    position, worker = running.pop(future)
                    try:
                        result = future.result()
                    except BrokenProcessPool:
                        workers.replace(worker)
                        say(losses.count(position, name(tasks[position])))
                        waiting.append(position)
                    else:
                        workers.idle.append(worker)
                        yield position, result


def run_tasks(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> Generator[tuple[int, Result], None, None]:
    """`ProcessPool.run` for work that needs no other engine and whose tasks have no names."""
    names = {id(task): f"part {number} of {len(tasks)}" for number, task in enumerate(tasks, 1)}
    return ProcessPool(workers).run(function, tasks, lambda task: names[id(task)], lambda text: None)


@dataclass(slots=True)
class Losses:
    """How often a worker died over each task, by position."""

    counts: Counter[int] = field(default_factory=Counter)

    def count(self, position: int, name: str, cause: str = "its process ended") -> str:
        """Count one more; returns what to tell the user. Raises `RunFailure` when it is once too often."""
        self.counts[position] += 1
        if self.counts[position] == MAX_LOST_WORKERS:
            raise RunFailure(
                f"{name}: given up after {MAX_LOST_WORKERS} attempts, the last time because {cause}. Most likely "
                "memory ran out (`dmesg` names what the kernel killed). Run the same command again with fewer "
                "--workers or on a larger machine; what is finished is kept."
            )
        return f"{name}: {cause}; trying again ({self.counts[position]} of {MAX_LOST_WORKERS - 1})"


class _Worker:
    """A pool of one process, so that the death of a process tells which task it was at and disturbs no other."""

    def __init__(self, orders: Connection) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_run_worker, initargs=(orders,))

    def submit(self, function: Callable[[Task], Result], task: Task) -> Future[Result]:
        try:
            return self._pool.submit(function, task)
        except BrokenProcessPool as error:
            # It died between two tasks. The caller hears of it as it does of a death in the middle of one.
            broken: Future[Result] = Future()
            broken.set_exception(error)
            return broken

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


class _Workers:
    """Fresh processes, so that no thread or lock of this one is inherited; none outlives the block or this process."""

    def __init__(self, count: int) -> None:
        self._read_end, self._write_end = multiprocessing.get_context("spawn").Pipe(duplex=False)
        self._all = [_Worker(self._read_end) for _ in range(count)]
        self.idle = list(self._all)

    def replace(self, dead: _Worker) -> None:
        dead.close()
        self._all.remove(dead)
        self._all.append(_Worker(self._read_end))
        self.idle.append(self._all[-1])

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *error: Any) -> None:
        self._write_end.close()
        for worker in self._all:
            worker.close()
        self._read_end.close()


def _run_worker(orders: Connection) -> None:
    # Ctrl-C reaches the whole process group; only the parent decides what happens then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(orders,), daemon=True).start()


def _end_with_parent(orders: Connection) -> None:
    # The pipe ends when the parent closes it or dies, by SIGKILL too. An orphan that went on would write its shard
    # into a folder that a later build believes to be its own.
    orders.poll(None)
    os._exit(1)
