"""A shuffled order that reads tars nearly in sequence. A pure function of plain values.

Rows are cut into blocks of neighbours in one tar, blocks are permuted, and rows are permuted inside windows of blocks:
a reader has a window's worth of each tar open, and a shard on a far server is fetched once.
"""

from __future__ import annotations

import numpy as np

from mmrs.seeding import permutation


def block_shuffle(
    shard_run_R: np.ndarray, key: tuple[str | int, ...], block_samples: int, window_blocks: int
) -> np.ndarray:
    """Rank (R,) of every row in the reading order: a permutation of 0..R-1, equal for equal arguments on any machine.

    Args:
        shard_run_R: numbers the runs of rows that lie in one tar; neighbours of equal number are neighbours on disk.
        key: what the order is drawn from: a data set, a seed, an epoch.
        block_samples: rows of a block.
        window_blocks: blocks of a window.
    """
    rows = len(shard_run_R)
    first_of_run = np.concatenate([[True], np.diff(shard_run_R) != 0])[:rows]
    position = np.arange(rows) - np.maximum.accumulate(np.where(first_of_run, np.arange(rows), 0))
    block = np.cumsum(position % block_samples == 0) - 1
    block_rank = np.argsort(permutation(int(block[-1]) + 1 if rows else 0, *key, "blocks"))
    window = block_rank[block] // window_blocks
    order = np.lexsort((permutation(rows, *key, "rows"), window))
    return np.argsort(order)
