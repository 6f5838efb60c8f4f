"""What makes a run repeatable on one machine: threads, kernels and random state, put back afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils.deterministic

from training.config import TrainConfig

# A module whose attributes mypy does not see: torch puts an instance in its place.
_FILLING: Any = torch.utils.deterministic


@contextmanager
def reproducible(config: TrainConfig) -> Iterator[None]:
    """Fixed thread count, deterministic kernels on CPU and a seeded random state; all restored afterwards.

    Results are bit-exact for equal `threads` on one kind of machine.
    """
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    filled = _FILLING.fill_uninitialized_memory
    with torch.random.fork_rng(devices=[]):
        torch.set_num_threads(config.threads)
        torch.use_deterministic_algorithms(config.device == "cpu")
        # With deterministic kernels torch would fill every new tensor first, to show who reads it too early: up to 4 %
        # of a step, and 2 ms a pack in the loader.
        _FILLING.fill_uninitialized_memory = False
        torch.manual_seed(config.model.seed)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(deterministic)
            _FILLING.fill_uninitialized_memory = filled
