"""Seeded splits for sources that ship none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from pydantic import Field

from converters.base import Converter
from converters.catalog import Counts
from mmrs.seeding import seeded_shares

T = TypeVar("T")
TrainShare = Annotated[float, Field(gt=0, lt=1)]


@dataclass(frozen=True)
class SeededSplit(Converter):
    """A converter that cuts train and test itself."""

    seed: int = 0
    """Another seed draws other images for train and test."""

    train_share: TrainShare = 0.8
    """Share of the images that are train; the rest is test. Published counts are those of the default share."""

    def published(self, split: str) -> Counts:
        """Size of a split at the source's usual share; nothing is known for other shares."""
        return super().published(split) if self.train_share == type(self).train_share else Counts()

    def part(self, group: Sequence[T], name: Callable[[T], str], split: str) -> list[T]:
        """The entries of `group` that belong to `split`: ``train``, or the rest for any other name."""
        shares = (self.train_share, 1 - self.train_share)
        train, rest = seeded_shares([name(entry) for entry in group], self.seed, shares)
        return [group[position] for position in (train if split == "train" else rest)]
