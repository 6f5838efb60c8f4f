"""The packs of a step in threads of their own, on a CPU.

Threads inside an operation meet at its end, some thousand times a step: small operations gain little, and where another
program has the core of one thread, all wait for it each time. Packs are independent until their gradients are summed,
so a thread takes a whole pack, alone in its operations, and they meet once a step. Gradients are summed in the order of
the packs: the result is that of one thread, bit for bit.

Not where a forward pass draws random numbers, whose generator all threads share, and not where gradients that wait for
their turn would take much memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn

T = TypeVar("T")
R = TypeVar("R")
# Trained numbers: a pack's gradients are then 256 MB of fp32 at most.
MOST_NUMBERS = 2**26


def threads_for(packs: int, trained_numbers: int, device: torch.device, at_random: bool) -> int:
    """How many packs are computed at once; 1 for one after the other, with all threads in each operation."""
    if device.type != "cpu" or at_random or trained_numbers > MOST_NUMBERS:
        return 1
    return max(1, min(packs, torch.get_num_threads()))


def in_threads(work: Callable[[T], R], items: Sequence[T], threads: int) -> Iterator[R]:
    """Results of `work` in the order of the items, which so many threads share; torch's threads are shared among them.

    Where one item fails, its error is raised in its turn, after the others that have begun.
    """
    with (
        _each_with(max(1, torch.get_num_threads() // threads)) as each,
        ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(each,)) as pool,
    ):
        yield from pool.map(work, items)


@contextmanager
def _each_with(threads: int) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield threads
    finally:
        torch.set_num_threads(before)


def draws_at_random(modules: Sequence[nn.Module], config: Mapping[str, Any]) -> bool:
    """Whether a forward pass in training draws random numbers: a dropout of any kind that is not 0, by the modules or
    by the plain fields of a model's configuration."""
    own = (getattr(module, "p", 0) for part in modules for module in part.modules() if isinstance(module, _DROPOUTS))
    return any(own) or _has_dropout(config)


_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def _has_dropout(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(
            _has_dropout(part) or ("drop" in str(name) and isinstance(part, int | float) and part > 0)
            for name, part in value.items()
        )
    return isinstance(value, list | tuple) and any(map(_has_dropout, value))
