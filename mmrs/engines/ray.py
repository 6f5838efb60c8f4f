"""Tasks on a Ray cluster (https://docs.ray.io). One task is one Ray task; Ray Data is not used."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from mmrs.engines.base import AnyResult, AnyTask, LostWorkers, Say
from mmrs.engines.garbage import rare_collections
from mmrs.errors import RunFailure, UserError
from mmrs.installation import install_command

# Results are a few kilobytes; Ray's default would take a third of the machine's memory.
_OBJECT_STORE_BYTES = 128 * 2**20
# More than one per processor, so that none waits for this process and an autoscaler sees demand.
_TASKS_IN_FLIGHT_PER_CPU = 2
_SECONDS_BETWEEN_LOOKS_AT_THE_CLUSTER = 30.0
_SECONDS_TO_ANSWER = 10.0


@dataclass(frozen=True, slots=True)
class RayCluster:
    """Ray tasks, on the cluster at `address` (``HOST:PORT`` or ``auto``) or on one of this machine for the run alone.

    All nodes need the same version of mmrs, of its dependencies and of Python, and must see the sources and the output
    under the same paths. `workers` is the number of processes of a cluster that the run starts itself.
    """

    address: str | None
    workers: int

    @property
    def processes_here(self) -> int:
        """See `mmrs.engines.base.Engine`."""
        return 0

    def run(
        self,
        function: Callable[[AnyTask], AnyResult],
        tasks: Sequence[AnyTask],
        name: Callable[[AnyTask], str],
        say: Say,
    ) -> Generator[tuple[int, AnyResult], None, None]:
        """See `mmrs.engines.base.Engine`."""
        if not tasks:
            return
        with _connected(self) as ray:
            # Ray would retry in silence and without an end for some causes; retries are counted here, by task.
            remote = ray.remote(num_cpus=1, max_retries=0, retry_exceptions=False)(_call)
            waiting = deque(range(len(tasks)))
            running: dict[Any, int] = {}
            lost = LostWorkers()
            # Nothing is cancelled when this ends early, as `ray.cancel` with force can abort this very process: leaving
            # the cluster ends the job and its workers. In a session of the caller's, tasks at work come to an end.
            while waiting or running:
                limit = _in_flight(ray)
                while waiting and len(running) < limit:
                    position = waiting.popleft()
                    running[remote.remote(function, tasks[position])] = position
                done, _ = ray.wait(list(running), timeout=_SECONDS_BETWEEN_LOOKS_AT_THE_CLUSTER)
                for reference in done:
                    position = running.pop(reference)
                    try:
                        result = ray.get(reference)
                    except ray.exceptions.RayTaskError as error:
                        raise _root_error(error) from error
                    except ray.exceptions.RayError as error:
                        say(lost.count(position, name(tasks[position]), _loss(error)))
                        waiting.append(position)
                    else:
                        yield position, result


def _call(function: Callable[[AnyTask], AnyResult], task: AnyTask) -> AnyResult:
    # Ray takes plain functions only, and the one to run may be a partial.
    with rare_collections():
        return function(task)


def import_ray() -> ModuleType:
    """The `ray` package. Raises `UserError` with the command that installs it."""
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise UserError(f"--engine ray needs the package ray ({error}): {install_command('ray')}") from error
    return ray


@contextmanager
def _connected(cluster: RayCluster) -> Iterator[ModuleType]:
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    # Ray installs a handler of SIGTERM that ends the process before this one has let go of its lock.
    before = signal.getsignal(signal.SIGTERM) if threading.current_thread() is threading.main_thread() else None
    try:
        if cluster.address is None:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            ray.init(
                address="local",
                num_cpus=cluster.workers,
                num_gpus=0,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                _node_ip_address="127.0.0.1",
                **quiet,
            )
        else:
            _check_reachable(cluster.address)
            ray.init(address=cluster.address, **quiet)
    except Exception as error:  # a node that does not start in time is a plain Exception of Ray's
        where = "on this machine" if cluster.address is None else f"at {cluster.address}"
        raise UserError(
            f"no Ray cluster {where}: {error}. See whether it runs with `ray status"
            f"{f' --address {cluster.address}' if cluster.address else ''}`, start one with `ray start --head`, or "
            "build without --engine ray."
        ) from error
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    # Ray itself tries for minutes to reach what is not there.
    host, separator, port = address.rpartition(":")
    if separator and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_ANSWER).close()


def _in_flight(ray: ModuleType) -> int:
    # Asked again and again: nodes come and go.
    return max(1, int(_TASKS_IN_FLIGHT_PER_CPU * ray.cluster_resources().get("CPU", 1)))


def _root_error(error: Any) -> BaseException:
    """The exception that the task raised, as a process pool would raise it."""
    return error.cause if isinstance(error.cause, BaseException) else RunFailure(str(error))


def _loss(error: Exception) -> str:
    first = str(error).partition("\n")[0].partition(". ")[0]
    return f"its worker was lost ({type(error).__name__}: {first})"
