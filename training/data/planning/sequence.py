"""The endless stream of packs over all epochs, and who reads which part of it.

Rules:
- The stream is the packs of epoch 0, then those of epoch 1, and so on. Optimiser step s takes the next
  `packs_per_step` of it, wherever epochs begin, so no epoch has a remainder to drop or repeat.
- A run of E epochs has ``ceil(packs of E epochs / packs_per_step)`` steps: the last step is filled with the first
  packs of epoch E. So each sample is seen at least E times and every step is full on every rank.
- Rank r of R takes packs r, r + R, ... of each step; `packs_per_step` is a multiple of R.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

import numpy as np

from mmrs.errors import UserError
from training.data.planning.plan import Lengths, Plan, PlanSettings, epoch_plan
from training.data.planning.pointer import Pointer, check_same_plan, check_same_stream

T = TypeVar("T")


class PackReference(NamedTuple):
    """One pack of the stream and its content: (sample row, positions in the lengths table) for every unit."""

    epoch: int
    number: int
    units: tuple[tuple[int, np.ndarray], ...]


@dataclass
class PackSequence:
    """Plans epochs on demand and walks through them."""

    lengths: Lengths
    settings: PlanSettings
    _plans: dict[int, Plan] = field(default_factory=dict, repr=False)

    def plan(self, epoch: int) -> Plan:
        """The plan of an epoch.

        Raises:
            UserError: no dialogue fits a pack, or the mixture leaves the epoch empty.
        """
        if epoch not in self._plans:
            plan = epoch_plan(self.lengths, self.settings, epoch)
            if len(plan) == 0 and len(plan.excluded) < len(self.lengths):
                raise UserError(
                    f"data.mixture ({self.settings.mixture}) leaves epoch {epoch} without any sample: raise its epochs."
                )
            if len(plan) == 0:
                whole = self.lengths.tokens + self.lengths.further_of(self.lengths.row)
                shortest = int(whole.min()) + self.settings.prefix_tokens
                raise UserError(
                    f"none of {len(self.lengths)} dialogues fits: the shortest takes {shortest} tokens with its image; "
                    f"tokens_per_pack={self.settings.tokens_per_pack}, the model takes {self.settings.max_positions}. "
                    f"Set tokens_per_pack to at least {shortest} and choose a model with as many positions."
                )
            # Consumer and prefetching loader are at most one epoch apart.
            self._plans = {near: kept for near, kept in self._plans.items() if abs(near - epoch) <= 1}
            self._plans[epoch] = plan
        return self._plans[epoch]

    def steps(self, epochs: int, packs_per_step: int) -> int:
        """Optimiser steps of a run of so many epochs; the last one borrows from the epoch after."""
        return -(-sum(len(self.plan(epoch)) for epoch in range(epochs)) // packs_per_step)

    def start(self) -> Pointer:
        """Pointer to the first pack of epoch 0."""
        return Pointer(self.settings, self.plan(0).digest)

    def check(self, pointer: Pointer) -> None:
        """Refuse a pointer that is not one into this stream. Raises UserError."""
        check_same_stream(pointer, self.settings)
        plan = self.plan(pointer.epoch)
        check_same_plan(pointer, plan.digest, len(plan))

    def advance(self, pointer: Pointer, packs: int, samples: int = 0, skipped: int = 0) -> Pointer:
        """The pointer after `packs` more packs with so many samples were consumed."""
        epoch, next_pack = pointer.epoch, pointer.next_pack + packs
        while next_pack >= len(self.plan(epoch)):
            next_pack -= len(self.plan(epoch))
            epoch += 1
        return replace(
            pointer,
            plan_digest=self.plan(epoch).digest,
            epoch=epoch,
            next_pack=next_pack,
            samples=pointer.samples + samples,
            skipped=pointer.skipped + skipped,
        )

    def walk(self, pointer: Pointer) -> Iterator[PackReference]:
        """All packs from the pointer on, without end."""
        epoch, first = pointer.epoch, pointer.next_pack
        while True:
            plan = self.plan(epoch)
            for number in range(first, len(plan)):
                yield PackReference(epoch, number, tuple(plan.pack(number)))
            epoch, first = epoch + 1, 0


def rank_share(packs_of_step: list[T], rank: int, world_size: int) -> list[T]:
    """The packs of one optimiser step that `rank` of `world_size` computes: equally many on each rank.

    Raises:
        ValueError: the step does not divide among the ranks.
    """
    if len(packs_of_step) % world_size or not 0 <= rank < world_size:
        raise ValueError(f"{len(packs_of_step)} packs per step cannot be shared by rank {rank} of {world_size}")
    return packs_of_step[rank::world_size]
