"""The processes of a run: which one this is, and the few collectives that the loop needs.

`torchrun` starts R processes and tells each its RANK; without it there is one process, for which every method here is
the identity. A collective must be called by all ranks in the same order, so errors that only one rank can see travel
through one before they are raised.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import distributed

from mmrs.errors import RunFailure, StorageFailure, UserError

T = TypeVar("T")
_FAILURES = (UserError, RunFailure, StorageFailure)


@dataclass(frozen=True)
class Ranks:
    """Rank `rank` of `size`, computing on `device`."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        """Whether this rank writes the files of the run and reports."""
        return self.rank == 0

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over ranks of a tensor of equal shape on each; the result is on the CPU."""
        return self._reduced(values, distributed.ReduceOp.SUM)

    def largest(self, values: torch.Tensor) -> torch.Tensor:
        """Maximum over ranks, element by element; the result is on the CPU."""
        return self._reduced(values, distributed.ReduceOp.MAX)

    def texts(self, text: str) -> list[str]:
        """The text of every rank, in rank order. Plain bytes travel, nothing is unpickled."""
        if self.size == 1:
            return [text]
        data = text.encode()
        lengths = self.total(torch.tensor([len(data) if rank == self.rank else 0 for rank in range(self.size)]))
        own = torch.zeros(int(lengths.max()), dtype=torch.uint8, device=self.device)
        own[: len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8).to(self.device) if data else own[:0]
        gathered = [torch.empty_like(own) for _ in range(self.size)]
        distributed.all_gather(gathered, own)
        pairs = zip(gathered, lengths.tolist(), strict=True)
        return [bytes(padded[:length].tolist()).decode() for padded, length in pairs]

    def first_then_all(self, work: Callable[[], T]) -> T:
        """Run `work` on rank 0, which may write files, then on the others, which find them.

        Raises:
            UserError, RunFailure: that of rank 0, on every rank, so that none waits for another. It travels as JSON.
        """
        failure: UserError | RunFailure | None = None
        results: list[T] = []
        if self.is_first:
            try:
                results.append(work())
            except _FAILURES as error:
                failure = error
        told = self.texts(_to_json(failure) if failure else "")[0]
        if failure:
            raise failure
        if told:
            raise _from_json(told)
        return results[0] if self.is_first else work()

    def _reduced(self, values: torch.Tensor, operation: distributed.ReduceOp.RedOpType) -> torch.Tensor:
        if self.size == 1:
            return values.cpu()
        reduced = values.to(self.device, copy=True)
        distributed.all_reduce(reduced, operation)
        return reduced.cpu()


def _to_json(failure: UserError | RunFailure) -> str:
    """A failure as it travels; one of a class that the others may not know goes as the nearest that they do."""
    kind = next(known.__name__ for known in type(failure).__mro__ if known in _FAILURES)
    return json.dumps({"kind": kind, "message": str(failure)}, allow_nan=False)


def _from_json(text: str) -> UserError | RunFailure:
    told = json.loads(text)
    return next(known for known in _FAILURES if known.__name__ == told["kind"])(told["message"])


@contextmanager
def open_ranks(device: str) -> Iterator[Ranks]:
    """Join the processes that `torchrun` started: gloo on "cpu", nccl on "cuda"; one process without it.

    Raises:
        UserError: no GPU for this rank, or an incomplete environment.
    """
    size, rank = _number("WORLD_SIZE", 1), _number("RANK", 0)
    local_rank = _number("LOCAL_RANK", rank)
    if not 0 <= rank < size:
        raise UserError(f"RANK={rank} is none of WORLD_SIZE={size} ranks. Start with torchrun, or unset both.")
    here = torch.device(device)
    if device == "cuda":
        gpus = torch.cuda.device_count()
        if not torch.cuda.is_available():
            raise UserError(
                "device: cuda, but torch sees no GPU here. Use --set device=cpu, or a torch with CUDA support."
            )
        if local_rank >= gpus:
            raise UserError(
                f"LOCAL_RANK={local_rank}, but this machine has {gpus} GPUs: torchrun --nproc-per-node {gpus}"
            )
        here = torch.device("cuda", local_rank)
        torch.cuda.set_device(here)
    if size == 1:
        yield Ranks(device=here)
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise UserError(f"WORLD_SIZE={size}, but {missing[0]} is not set. Start with torchrun, or unset WORLD_SIZE.")
    distributed.init_process_group(
        "nccl" if device == "cuda" else "gloo", rank=rank, world_size=size, device_id=here if device == "cuda" else None
    )
    try:
        yield Ranks(rank, size, here)
    finally:
        distributed.destroy_process_group()


def _number(name: str, default: int) -> int:
    value = os.environ.get(name, str(default))
    if not value.isdecimal():
        raise UserError(f"the environment has {name}={value!r}; torchrun sets a number. Unset it for one process.")
    return int(value)
