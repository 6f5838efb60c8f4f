"""The surroundings of a run, put back afterwards: its lock, threads, kernels, random state and progress bars."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from mmrs.errors import UserError
from mmrs.storage.locks import record_lock
from training.config import TrainConfig


@contextmanager
def run_lock(out: Path) -> Iterator[None]:
    """Hold the run folder for this process; a killed process holds nothing.

    Raises:
        UserError: another process trains in it.
    """
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            # record lock: loader workers must not inherit it, since they may outlive a killed run
            held.enter_context(record_lock(out / "lock"))
        except OSError as error:
            raise UserError(f"another process is training in {out}. Wait for it, or choose another `out`.") from error
        yield


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


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars for loading and saving where nobody watches a terminal."""
    if sys.stderr.isatty() or not transformers_logging.is_progress_bar_enabled():
        yield
        return
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.enable_progress_bar()
