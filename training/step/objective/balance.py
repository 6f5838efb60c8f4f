"""What weighs alike in the loss of a step: target tokens, dialogues or tasks, and factors of single tasks.

The weights of all targets of a step, over all its packs and ranks, have the sum 1, so the gradient depends neither on
how dialogues are spread over packs nor on the number of ranks. What is reported as a loss stays nats per target token,
which runs of any balance can be compared by.

Shape legend: T targets of a pack, K tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mmrs.errors import UserError
from mmrs.text import nearest
from training.config import LossConfig
from training.data.collate import Pack
from training.step.ranks import Ranks


@dataclass(frozen=True)
class StepWeights:
    """The weights of the targets of one step: of task k each target token counts `token_K[k]`, and each dialogue
    `dialogue_K[k]` beside it, shared among its tokens."""

    token_K: torch.Tensor
    dialogue_K: torch.Tensor

    def of(self, pack: Pack) -> torch.Tensor:
        """(T,) fp32."""
        tasks_T = pack.target_tasks_T
        return (self.token_K[tasks_T] + self.dialogue_K[tasks_T] / _dialogue_tokens(pack)).float()


def step_weights(config: LossConfig, tasks: Sequence[str], packs: Sequence[Pack], ranks: Ranks) -> StepWeights:
    """The weights of a step's targets; a collective.

    Args:
        packs: this rank's share of the step, with a target in some rank's.
    """
    counts_2K = torch.zeros(2, len(tasks), dtype=torch.float64)
    for pack in packs:
        if pack.targets:
            ones_T = torch.ones(pack.targets, dtype=torch.float64)
            counts_2K[0].index_add_(0, pack.target_tasks_T, ones_T)
            counts_2K[1].index_add_(0, pack.target_tasks_T, ones_T / _dialogue_tokens(pack))
    tokens_K, dialogues_K = ranks.total(counts_2K)
    factor_K = torch.tensor([config.weights.get(task, 1.0) for task in tasks], dtype=torch.float64)
    none_K = torch.zeros_like(factor_K)
    if config.balance == "sample":
        # Sums of thirds and sevenths are near a whole number, not one.
        return StepWeights(none_K, factor_K / (factor_K * dialogues_K.round()).sum())
    if config.balance == "task":
        present_K = tokens_K > 0
        share_K = factor_K * present_K / (factor_K * present_K).sum()
        return StepWeights(share_K / tokens_K.clamp(min=1), none_K)
    return StepWeights(factor_K / (factor_K * tokens_K).sum(), none_K)


def check_loss_tasks(config: LossConfig, tasks: Sequence[str]) -> None:
    """Raise UserError where a factor is given for a task that the run has not."""
    for task in config.weights:
        if task not in tasks:
            raise UserError(
                f"loss.weights: no dialogue of the run has task {task!r}{nearest(task, tasks)}; it has "
                f"{', '.join(tasks)}."
            )


def _dialogue_tokens(pack: Pack) -> torch.Tensor:
    """Of each target how many its dialogue has (T,)."""
    image_L, segment_L = pack.image_segment_L, pack.dialogue_segment_L
    own_T = torch.stack((image_L[pack.target_positions_T], segment_L[pack.target_positions_T]), dim=1)
    _, dialogue_T, count = own_T.unique(dim=0, return_inverse=True, return_counts=True)
    return count[dialogue_T]
