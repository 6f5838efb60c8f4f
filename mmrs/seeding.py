"""Every order, choice and share that is drawn from a seed.

What is drawn follows from a key alone (the seed, what is drawn for, a name): nothing depends on the machine, on the
order of listing or on what was drawn before, so any part of a data set can be drawn again on its own. All of it comes
from sha256 and SplitMix64 instead of the generators of `random` or numpy, whose streams may change with their version.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_GOLDEN = 0x9E3779B97F4A7C15


def seeded_order(names: Sequence[str], seed: int, purpose: str) -> list[int]:
    """Positions of `names` in an order that depends on the seed and the names alone, not on how they were listed."""
    keys = [_digest("\0", seed, purpose, name) for name in names]
    return sorted(range(len(names)), key=lambda index: (keys[index], names[index]))


def seeded_choice(count: int, *key: str | int) -> int:
    """A number of 0..count-1."""
    return int.from_bytes(_digest("\0", *key)[:8], "big") % count


def is_in_share(share: float, *key: str | int) -> bool:
    """Whether the key belongs to a part of about `share` (0..1) of all keys."""
    return int.from_bytes(_digest("\0", *key)[:8], "big") < share * 2**64


def seeded_shares(names: Sequence[str], seed: int, shares: Sequence[float]) -> list[list[int]]:
    """Positions of `names` in consecutive parts of the given `shares` (0..1) of a seeded order.

    Names are sorted by sha256 of ``<seed>:<name>``. A part ends at the sum of the shares up to its own, rounded to the
    nearest whole number, the last at the end: each name is in one part and in one only.
    """
    keys = [_digest(":", seed, name) for name in names]
    order = sorted(range(len(names)), key=lambda index: keys[index])
    ends = [int(len(names) * edge + 0.5) for edge in itertools.accumulate(shares)]
    return [order[start:end] for start, end in itertools.pairwise([0, *ends[:-1], len(names)])]


def permutation(count: int, *key: str | int) -> np.ndarray:
    """Permutation (count,) of 0..count-1, equal for equal keys on any machine."""
    # Loaded where it is used: names are drawn by commands that need no arrays, and it takes a tenth of a second.
    import numpy as np

    return np.argsort(random_words(count, *key), kind="stable")


def random_words(count: int, *key: str | int) -> np.ndarray:
    """`count` random uint64 (count,).

    SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) rather than numpy's generators, whose streams may change with numpy.
    """
    import numpy as np

    state = np.uint64(int.from_bytes(_digest("/", *key)[:8], "little"))
    with np.errstate(over="ignore"):
        z = state + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _digest(separator: str, *key: str | int) -> bytes:
    return hashlib.sha256(separator.join(map(str, key)).encode()).digest()
