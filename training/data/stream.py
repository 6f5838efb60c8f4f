"""What a run reads: packs from a position on, whichever kind of data they come from.

Two kinds: `training.data.planned` over data sets of mmrs, whose order is a pure function of their indexes, so that a
run resumes exactly with any number of ranks and workers; `training.data.webdataset` over tars of others, without a
plan. Loop, checkpoints and reports know this protocol alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch.utils.data import DataLoader

from training.data.planning.pointer import Pointer, Position


class RankOf(Protocol):
    """Which of how many ranks reads; `training.step.ranks.Ranks` is one."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...


class Stream(Protocol):
    """The packs of a run. Equal on all ranks; `loader` gives each of them its own share."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that the targets of a pack are numbered by."""

    @property
    def sensors(self) -> Mapping[str, str]:
        """The sensor of each source; a sample's id begins with its source."""

    @property
    def total_steps(self) -> int:
        """Optimiser steps from the start of the run to its end."""

    def start(self) -> Pointer:
        """Pointer before the first pack."""

    def check(self, pointer: Pointer) -> None:
        """Refuse a pointer into another stream. Raises UserError."""

    def advance(self, pointer: Pointer, packs: int, samples: int = 0, skipped: int = 0) -> Pointer:
        """The pointer after so many more packs, with so many samples, were consumed."""

    def loader(self, start: Position, ranks: RankOf) -> DataLoader:
        """The packs of one rank from a position on, at least to the last step.

        Raises:
            UserError: there are more readers than the data can be shared among.
        """

    def summary(self) -> dict[str, Any]:
        """What is known of the data before a step is done, as plain values for ``plan.json``."""

    def describe(self) -> list[str]:
        """The same for a person, line by line."""
