"""Links between images that show the same thing, each with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

Index = npt.NDArray[np.int64]


class LinkKind(IntEnum):
    """Why two images belong together, the surest reason first."""

    BYTES = 0
    ORIGINAL = 1
    SCENE = 2
    COPY = 3
    CENTRE = 4
    # Of two samples of which one has an image that is none of the other's: one side of a split, two things to say.
    PART = 5


@dataclass(frozen=True)
class Links:
    """L links between rows `first` and `second`; `reasons` complete "image A is ... image B", true from both sides."""

    kinds: npt.NDArray[np.uint8]
    first: Index
    second: Index
    reasons: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.reasons)

    def counts(self, chosen: npt.NDArray[np.bool_] | slice = slice(None)) -> dict[str, int]:
        """Number of links by kind (lower-case names), of the `chosen` ``(L,)`` alone where they are named."""
        found = {kind.name.lower(): int((self.kinds[chosen] == kind).sum()) for kind in LinkKind}
        # Only sets with samples of several images have such links.
        return {name: count for name, count in found.items() if count or name != LinkKind.PART.name.lower()}


def make_links(kind: LinkKind, first: npt.ArrayLike, second: npt.ArrayLike, reasons: Sequence[str]) -> Links:
    """Links of one kind."""
    return Links(
        np.full(len(reasons), kind, np.uint8),
        np.asarray(first, np.int64).reshape(-1),
        np.asarray(second, np.int64).reshape(-1),
        tuple(reasons),
    )


def joined(parts: Sequence[Links]) -> Links:
    """All links, in the order given."""
    return Links(
        np.concatenate([part.kinds for part in parts]),
        np.concatenate([part.first for part in parts]),
        np.concatenate([part.second for part in parts]),
        tuple(reason for part in parts for reason in part.reasons),
    )


def links_by_key(kind: LinkKind, keys: Sequence[str | None], phrase: str) -> Links:
    """Links of all rows with equal keys to the first of them; `phrase` has ``{key}``. None is no key."""
    common = {key for key, count in Counter(keys).items() if count > 1 and key is not None}
    hubs: dict[str, int] = {}
    first, second, reasons = [], [], []
    for row, key in enumerate(keys):
        if key is None or key not in common:
            continue
        hub = hubs.setdefault(key, row)
        if hub != row:
            first.append(hub)
            second.append(row)
            reasons.append(phrase.format(key=key))
    return make_links(kind, first, second, reasons)


def components(rows: int, links: Links) -> Index:
    """``(rows,)``: the smallest row that each row is linked with, directly or through others; itself where alone.

    `scipy.sparse.csgraph.connected_components` answers the same up to the numbers of the groups, but the data core
    needs nothing else of scipy.
    """
    parent = np.arange(rows)
    first, second = links.first, links.second
    while True:
        low = np.minimum(parent[first], parent[second])
        before = parent.copy()
        # Hook both roots under the smaller one, then shorten all paths to their ends.
        np.minimum.at(parent, parent[first], low)
        np.minimum.at(parent, parent[second], low)
        while not np.array_equal(parent, parent[parent]):
            parent = parent[parent]
        if np.array_equal(parent, before):
            return parent
