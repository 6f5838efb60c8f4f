"""The leakage guard: which training images must go so that no group straddles training and evaluation.

Evaluation wins: an image that is evaluated on is never removed, whatever its source. Pure functions of plain values.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmrs.curation.groups import Groups
from mmrs.curation.links import Index
from mmrs.errors import UserError
from mmrs.shards.manifest import Manifest
from mmrs.text import nearest


@dataclass(frozen=True, slots=True)
class Policy:
    """What counts as evaluation: every split but the `trained` ones, which are named ``<source>/<split>``."""

    trained: frozenset[str]

    def evaluates(self, source: str, split: str) -> bool:
        """Whether images of this split are evaluated on."""
        return f"{source}/{split}" not in self.trained


def policy_of(manifest: Manifest, train_splits: Collection[str] = ()) -> Policy:
    """The policy that the data set was built with, or that of other `train_splits` for all its sources.

    A source that no split of is trained on (one for evaluation only) stays that.

    Raises:
        UserError: no source has one of the `train_splits`.
    """
    known = sorted({split for source in manifest.sources.values() for split in source.splits})
    for split in train_splits:
        if split not in known:
            raise UserError(
                f"--train-split {split}: no source has such a split{nearest(split, known)}"
                f"; there are {', '.join(known)}."
            )
    trained = set()
    for name, source in manifest.sources.items():
        splits = [split for split in source.splits if split in train_splits] if train_splits else source.train_splits
        trained |= {f"{name}/{split}" for split in splits if source.train_splits}
    return Policy(frozenset(trained))


@dataclass(frozen=True, slots=True)
class Removal:
    """A training image that must go.

    `chain` leads from it to an evaluation image of its group by the fewest links: (row, link) pairs, where `link` joins
    the row with the one before (the first with the removed row). The last row is the evaluation image.
    """

    row: int
    group: int
    chain: tuple[tuple[int, int], ...]

    @property
    def evaluation_row(self) -> int:
        return self.chain[-1][0]


def guard(groups: Groups, evaluation: npt.NDArray[np.bool_]) -> tuple[Removal, ...]:
    """The removals, by row: every training image whose group has an evaluation image.

    `evaluation` ``(N,)`` says which rows are evaluated on.
    """
    rows = np.flatnonzero(straddling(groups.labels, evaluation))
    steps = _steps_to_evaluation(groups, rows, evaluation)
    return tuple(
        Removal(row, int(groups.labels[row]), _chain(row, steps)) for row in rows.tolist() if not evaluation[row]
    )


def straddling(labels: Index, evaluation: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """``(N,)``: rows of groups that have both training and evaluation images."""
    both = np.intersect1d(labels[evaluation], labels[~evaluation])
    return np.isin(labels, both)


def shared_by_benchmarks(labels: Index, splits: Sequence[str], evaluation: npt.NDArray[np.bool_]) -> dict[str, int]:
    """Number of groups that each pair of evaluated splits has in common; nothing is removed for these."""
    seen: dict[int, set[str]] = defaultdict(set)
    sizes = np.bincount(labels, minlength=1)
    for row in np.flatnonzero(evaluation & (sizes[labels] > 1)).tolist():
        seen[int(labels[row])].add(splits[row])
    pairs: dict[str, int] = defaultdict(int)
    for names in seen.values():
        ordered = sorted(names)
        for place, first in enumerate(ordered):
            for second in ordered[place + 1 :]:
                pairs[f"{first} and {second}"] += 1
    return dict(sorted(pairs.items()))


def _steps_to_evaluation(
    groups: Groups, rows: Index, evaluation: npt.NDArray[np.bool_]
) -> dict[int, tuple[int, int] | None]:
    """For each of `rows` the next (row, link) on a shortest way to an evaluation row; None at its end."""
    wanted = np.zeros(len(groups.labels), bool)
    wanted[rows] = True
    neighbours: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for link in np.flatnonzero(wanted[groups.links.first]).tolist():
        first, second = int(groups.links.first[link]), int(groups.links.second[link])
        neighbours[first].append((second, link))
        neighbours[second].append((first, link))
    steps: dict[int, tuple[int, int] | None] = {row: None for row in rows.tolist() if evaluation[row]}
    queue = deque(steps)
    while queue:
        row = queue.popleft()
        for neighbour, link in neighbours[row]:
            if neighbour not in steps:
                steps[neighbour] = (row, link)
                queue.append(neighbour)
    return steps


def _chain(row: int, steps: dict[int, tuple[int, int] | None]) -> tuple[tuple[int, int], ...]:
    chain = []
    while (step := steps[row]) is not None:
        chain.append(step)
        row = step[0]
    return tuple(chain)
