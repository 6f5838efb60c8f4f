"""Processes of this machine: the engine of every command.

Each worker is a pool of one process of its own, because `concurrent.futures` breaks a whole pool when one process dies
and does not say at which task; here the others go on and the task is known.

Workers are forked from a server process (`multiprocessing`'s ``forkserver``) that has loaded what they need and has no
thread and no lock of this one: the first costs half a second of loading, each further one some milliseconds. `warm_up`
has it loaded while this process does other things.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any

from mmrs.engines.base import AnyResult, AnyTask, LostWorkers, Say
from mmrs.engines.garbage import collect_rarely, rare_collections

_CONTEXT = multiprocessing.get_context("forkserver")


def warm_up(workers: int, modules: Sequence[str]) -> None:
    """Let the process that workers are forked from load `modules` now, where there will be more than one worker.

    Modules that are not there are left out; once that process has started, this does nothing.
    """
    if workers > 1:
        _CONTEXT.set_forkserver_preload([__name__, *modules])
        forkserver.ensure_running()


@dataclass(frozen=True, slots=True)
class ProcessPool:
    """Processes of this machine. One worker, or a single task, runs in this process itself."""

    workers: int

    @property
    def processes_here(self) -> int:
        """See `mmrs.engines.base.Engine`."""
        return self.workers

    def run(
        self,
        function: Callable[[AnyTask], AnyResult],
        tasks: Sequence[AnyTask],
        name: Callable[[AnyTask], str],
        say: Say,
    ) -> Generator[tuple[int, AnyResult], None, None]:
        if self.workers <= 1 or len(tasks) <= 1:
            for position, task in enumerate(tasks):
                with rare_collections():
                    result = function(task)
                yield position, result
            return
        waiting = deque(range(len(tasks)))
        running: dict[Future[AnyResult], tuple[int, _Worker]] = {}
        lost = LostWorkers()
        warm_up(self.workers, [_module_of(function)])
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
                        say(lost.count(position, name(tasks[position])))
                        waiting.append(position)
                    else:
                        workers.idle.append(worker)
                        yield position, result


def run_tasks(
    function: Callable[[AnyTask], AnyResult], tasks: Sequence[AnyTask], workers: int
) -> Generator[tuple[int, AnyResult], None, None]:
    """`ProcessPool.run` for work that needs no other engine and whose tasks have no names."""
    names = {id(task): f"part {number} of {len(tasks)}" for number, task in enumerate(tasks, 1)}
    return ProcessPool(workers).run(function, tasks, lambda task: names[id(task)], lambda text: None)


class _Worker:
    """A pool of one process, so that the death of a process tells which task it was at and disturbs no other."""

    def __init__(self, orders: Connection) -> None:
        given = (orders, dict(os.environ))
        self._pool = ProcessPoolExecutor(1, mp_context=_CONTEXT, initializer=_run_worker, initargs=given)

    def submit(self, function: Callable[[AnyTask], AnyResult], task: AnyTask) -> Future[AnyResult]:
        try:
            return self._pool.submit(function, task)
        except (BrokenProcessPool, EOFError, ConnectionError) as error:
            # It died between two tasks, or the server that it was to be forked from did; the next worker starts another
            # server. The caller hears of it as it does of a death in the middle of a task.
            broken: Future[AnyResult] = Future()
            broken.set_exception(BrokenProcessPool(str(error)))
            return broken

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


class _Workers:
    """Fresh processes, so that no thread or lock of this one is inherited; none outlives the block or this process."""

    def __init__(self, count: int) -> None:
        self._read_end, self._write_end = _CONTEXT.Pipe(duplex=False)
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


def _module_of(function: Callable[..., Any]) -> str:
    while isinstance(function, partial):
        function = function.func
    return function.__module__


def _run_worker(orders: Connection, environment: Mapping[str, str]) -> None:
    # The server that this was forked from has that of its own start.
    os.environ.clear()
    os.environ.update(environment)
    # Tasks are unpacked, and results packed, outside of what is run.
    collect_rarely()
    # Ctrl-C reaches the whole process group; only the parent decides what happens then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(orders,), daemon=True).start()


def _end_with_parent(orders: Connection) -> None:
    # The pipe ends when the parent closes it or dies, by SIGKILL too. An orphan that went on would write its shard
    # into a folder that a later build believes to be its own.
    orders.poll(None)
    os._exit(1)
