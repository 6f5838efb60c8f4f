"""Samples in a shuffled order that several ranks and workers share, from which a reader goes on after any stop.

The order of an epoch is a pure function of data set, seed and epoch. Rank r of R takes every R-th sample of it, worker
w of W every W-th of those: each sample of an epoch is given exactly once, whatever R and W are.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from mmrs.data_set.sample import Sample
from mmrs.errors import UserError
from mmrs.shards.reader import ShardSet
from mmrs.shards.shuffle import block_shuffle

_BLOCK_SAMPLES, _WINDOW_BLOCKS = 64, 32


@dataclass
class SampleStream:
    """An iterable over the samples of one epoch for any loader, PyTorch's `DataLoader` among them.

    Call `set_epoch` before each epoch, as for PyTorch's samplers. In a worker process of a `DataLoader` an iterator
    gives that worker's share. `state_dict` and `load_state_dict` are those that torchdata's `StatefulDataLoader` calls
    in each worker; without it, `skip` goes on after the samples that all workers of a rank have given together.

    Args:
        shards: the data set.
        rows: index rows with `id`, `shard` and the places in the tar, in manifest order.
        tasks: a sample's dialogues are those of these tasks; empty: all.
        shuffle: otherwise samples come in manifest order.
        seed: of the order.
        rank, world: this reader's share.
    """

    shards: ShardSet
    rows: pa.Table = field(repr=False)
    tasks: tuple[str, ...] = ()
    shuffle: bool = True
    seed: int = 0
    rank: int = 0
    world: int = 1
    _epoch: int = 0
    _skipped: int = 0
    _given: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise UserError(
                f"shard=({self.rank}, {self.world}) names rank {self.rank} of {self.world}: 0 is the first."
            )

    def __len__(self) -> int:
        """Samples of an epoch that this rank gives, in all of its workers together."""
        return len(range(self.rank, len(self.rows), self.world))

    def set_epoch(self, epoch: int) -> None:
        """Begin the numbered epoch (0 is the first) at its first sample."""
        self._epoch, self._skipped, self._given = epoch, 0, 0

    def skip(self, samples: int) -> None:
        """Leave out the first `samples` of this rank's share of the epoch: those given before a stop, by all workers.

        A `DataLoader` with W workers takes whole batches from its workers in turn, so after b batches of B samples that
        is ``b * B`` where B is 1 or there is one worker; `StatefulDataLoader` keeps account in every case.
        """
        self._skipped, self._given = samples, 0

    def order(self, epoch: int) -> np.ndarray:
        """Rows (N,) of the whole epoch, in the order in which all ranks together read them."""
        count = len(self.rows)
        if not self.shuffle:
            return np.arange(count)
        shards = self.rows["shard"].to_numpy()
        key = (self.shards.manifest.id, self.seed, epoch)
        return np.argsort(block_shuffle(shards, key, _BLOCK_SAMPLES, _WINDOW_BLOCKS))

    def __iter__(self) -> Iterator[Sample]:
        worker, workers = _torch_worker()
        share = self.order(self._epoch)[self.rank :: self.world][self._skipped :][worker::workers]
        for row in share[self._given :].tolist():
            # Counted before it is given: whoever asks for the state then has the sample.
            self._given += 1
            yield self._sample(row)
        self._given = 0

    def state_dict(self) -> dict[str, Any]:
        """Where this iterator stands, and of which order. Plain values."""
        return {**self._identity(), "epoch": self._epoch, "skipped": self._skipped, "given": self._given}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was asked.

        Raises:
            UserError: it is the state of another order: another data set, seed, selection, rank or number of ranks.
        """
        for name, value in self._identity().items():
            if state.get(name) != value:
                raise UserError(f"the state is of another stream: its {name} is {state.get(name)!r}, here {value!r}.")
        self._epoch, self._skipped, self._given = (int(state[name]) for name in ("epoch", "skipped", "given"))

    def _identity(self) -> dict[str, Any]:
        return {
            "format": "mmrs-sample-stream-1",
            "data_set": self.shards.manifest.id,
            "samples": len(self.rows),
            "tasks": list(self.tasks),
            "shuffle": self.shuffle,
            "seed": self.seed,
            "rank": self.rank,
            "world": self.world,
        }

    def _sample(self, number: int) -> Sample:
        (row,) = self.rows.slice(number, 1).to_pylist()
        return read_sample(self.shards, row, self.tasks)


def read_sample(shards: ShardSet, row: dict[str, Any], tasks: tuple[str, ...] = ()) -> Sample:
    """The sample of an index row, with its dialogues of `tasks` alone where any are named.

    Raises:
        RunFailure: image or record cannot be read.
    """
    record = shards.record(row)
    if tasks:
        kept = tuple(dialogue for dialogue in record.dialogues if dialogue.task in tasks)
        record = record.model_copy(update={"dialogues": kept})
    try:
        first, *further = shards.images(row)
    except OSError as error:
        raise shards.damaged(row, f"the image cannot be read: {error}") from error
    return Sample(first, record, str(shards.location), tuple(further))


def _torch_worker() -> tuple[int, int]:
    """(number, count) of this worker process of a `DataLoader`; (0, 1) outside of one. torch is not loaded for it."""
    data = sys.modules.get("torch.utils.data")
    information = None if data is None else data.get_worker_info()
    return (0, 1) if information is None else (information.id, information.num_workers)
