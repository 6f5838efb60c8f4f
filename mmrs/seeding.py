"""Order drawn from a key alone: the one source of randomness of the data side."""

from __future__ import annotations

import hashlib

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def permutation(count: int, *key: str | int) -> np.ndarray:
    """Permutation (count,) of 0..count-1, equal for equal keys on any machine."""
    return np.argsort(random_words(count, *key), kind="stable")


def random_words(count: int, *key: str | int) -> np.ndarray:
    """`count` random uint64 (count,).

    SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) rather than numpy's generators, whose streams may change with numpy.
    """
    state = np.uint64(int.from_bytes(hashlib.sha256("/".join(map(str, key)).encode()).digest()[:8], "little"))
    with np.errstate(over="ignore"):
        z = state + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
