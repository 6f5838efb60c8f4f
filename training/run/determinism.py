"""What makes a run repeatable on one machine: threads, kernels and random state, put back afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from training.config import TrainConfig


@contextmanager
def reproducible(config: TrainConfig) -> Iterator[None]:
    """Fixed thread count, deterministic kernels on CPU and a seeded random state; all restored afterwards.

    Results are bit-exact for equal `threads` on one kind of machine.
    """
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.set_num_threads(config.threads)
        torch.use_deterministic_algorithms(config.device == "cpu")
        torch.manual_seed(config.model.seed)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(deterministic)
