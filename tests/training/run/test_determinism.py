"""What `reproducible` sets for a run, and that a program which trains keeps its own settings."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.utils.deterministic

from training.config import load_config
from training.run.determinism import reproducible

RECIPES = Path(__file__).parents[3] / "training" / "recipes"


def test_a_run_has_deterministic_kernels_without_their_check_and_gives_all_back():
    config = load_config(RECIPES / "tiny.yaml", ["threads=1"])
    threads, filled = torch.get_num_threads(), torch.utils.deterministic.fill_uninitialized_memory
    with reproducible(config):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
        assert torch.get_num_threads() == 1
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory == filled
    assert torch.get_num_threads() == threads
