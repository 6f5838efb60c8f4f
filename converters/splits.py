"""Seeded splits for sources that ship none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from pydantic import Field

from converters.base import Converter
from converters.catalog import Counts

T = TypeVar("T")
TrainShare = Annotated[float, Field(gt=0, lt=1)]


def seeded_part(group: Sequence[T], name: Callable[[T], str], split: str, seed: int, train_share: float) -> list[T]:
    """The part of `group` that is `split`: ``train``, or the rest for any other name.

    The group is sorted by sha256 of ``<seed>:<name>``; the first `train_share` (0..1) of it, rounded to the nearest
    whole number, is train. Nothing depends on the order of `group`.
    """
    ordered = sorted(group, key=lambda entry: hashlib.sha256(f"{seed}:{name(entry)}".encode()).digest())
    train = int(len(ordered) * train_share + 0.5)
    return ordered[:train] if split == "train" else ordered[train:]


@dataclass(frozen=True)
class SeededSplit(Converter):
    """A converter that cuts train and test itself. Options: `seed` and `train_share` (0..1) of the split."""

    seed: int = 0
    train_share: TrainShare = 0.8

    def published(self, split: str) -> Counts:
        """Size of a split at the source's usual share; nothing is known for other shares."""
        return super().published(split) if self.train_share == type(self).train_share else Counts()

    def part(self, group: Sequence[T], name: Callable[[T], str], split: str) -> list[T]:
        """The entries of `group` that belong to `split`."""
        return seeded_part(group, name, split, self.seed, self.train_share)
