"""What every engine keeps to: run a function over tasks, each to its result or to an error that names it.

Nothing in the output depends on the engine or on the order of results. Lost workers are counted by task, whatever lost
them: chance takes different tasks, so one that loses worker after worker is at fault itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from mmrs.errors import RunFailure

AnyTask = TypeVar("AnyTask")
AnyResult = TypeVar("AnyResult")
Say = Callable[[str], None]

MAX_LOST_WORKERS = 5


class Engine(Protocol):
    """Where tasks run.

    A task whose worker or machine dies is run again, up to `MAX_LOST_WORKERS` times; an exception that a task raises
    ends the run at once. When the run ends early, for whatever reason, its workers are stopped where they are: tasks
    must leave nothing half-written that anyone reads.
    """

    @property
    def processes_here(self) -> int:
        """How many tasks run at once on this machine and see its temporary files; 0 where they may run elsewhere."""
        ...

    def run(
        self,
        function: Callable[[AnyTask], AnyResult],
        tasks: Sequence[AnyTask],
        name: Callable[[AnyTask], str],
        say: Say,
    ) -> Generator[tuple[int, AnyResult], None, None]:
        """Yield (position in `tasks`, result) of every task as it completes, in any order.

        Args:
            name: what to call a task in messages.
            say: is told of every worker that was lost.

        Raises:
            RunFailure: workers died over one task again and again; names it.
        """
        ...


@dataclass(slots=True)
class LostWorkers:
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
