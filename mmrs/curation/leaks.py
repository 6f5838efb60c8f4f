"""Pictures of an evaluation that a model was trained on: the same bytes, or copies that look the same.

Copies are found as `mmrs curate` finds them: near hashes of the whole images, turned and mirrored too, confirmed on
thumbnails. Nothing is changed; who compares models wants to know.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from mmrs.curation.fingerprints import Thumbnails, are_copies, stored_thumbnails
from mmrs.curation.guard import policy_of
from mmrs.curation.image_table import Rows, load_rows
from mmrs.curation.links import Index
from mmrs.curation.search import near_pairs
from mmrs.engines.processes import ProcessPool
from mmrs.imaging.hashing import VARIANTS
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet


@dataclass(frozen=True, slots=True)
class Leaks:
    """Evaluated record ids, each with a training record's that shows the same: `same_bytes`, and `look_alike`."""

    same_bytes: dict[str, str]
    look_alike: dict[str, str]

    def __or__(self, other: Leaks) -> Leaks:
        return Leaks(self.same_bytes | other.same_bytes, self.look_alike | other.look_alike)

    @property
    def images(self) -> frozenset[str]:
        """All evaluated records with a training twin."""
        return frozenset(self.same_bytes) | frozenset(self.look_alike)


def find_leaks(evaluated: ShardSet, split: str, trained: ShardSet, workers: int, progress: Progress) -> Leaks:
    """Images of a split of one data set that are among the training splits of another, or of the same.

    Training splits are those that the data set was built to train on.

    Raises:
        RunFailure: a stored image cannot be decoded.
    """
    engine = ProcessPool(workers)
    asked, seen = load_rows(evaluated, engine, progress), load_rows(trained, engine, progress)
    policy = policy_of(trained.manifest)
    here = np.array([row for row in range(len(asked)) if asked.split(row) == split], dtype=np.int64)
    there = np.array(
        [n for n in range(len(seen)) if not policy.evaluates(seen.source(n), seen.split(n))], dtype=np.int64
    )
    by_bytes = {seen.sha256[row]: seen.ids[row] for row in there.tolist()}
    same = {asked.ids[row]: by_bytes[asked.sha256[row]] for row in here.tolist() if asked.sha256[row] in by_bytes}
    left = np.array(
        [row for row in here.tolist() if asked.ids[row] not in same and not asked.flat[row]], dtype=np.int64
    )
    usable = there[~seen.flat[there]] if len(there) else there
    if not len(left) or not len(usable):
        return Leaks(same, {})
    thumbnails = stored_thumbnails(evaluated, asked), stored_thumbnails(trained, seen)
    return Leaks(same, _look_alike(asked, left, seen, usable, thumbnails, workers))


def _look_alike(
    asked: Rows, left: Index, seen: Rows, usable: Index, thumbnails: tuple[Thumbnails, Thumbnails], workers: int
) -> dict[str, str]:
    hashes, others = asked.hashes()[left], seen.hashes()[usable]
    pairs = near_pairs(hashes, others, workers=workers)
    # Pairs name the first row of each hash alone.
    twins: dict[bytes, list[int]] = defaultdict(list)
    for place, row in enumerate(left.tolist()):
        twins[hashes[place].tobytes()].append(row)
    found: dict[str, str] = {}
    for order in np.argsort(pairs.distance, kind="stable").tolist():
        first, second = int(pairs.first[order]), int(usable[pairs.second[order]])
        variant = VARIANTS[int(pairs.variant[order])]
        for row in twins[hashes[first].tobytes()]:
            if asked.ids[row] in found:
                continue
            if are_copies(thumbnails[0].grey(row, 1.0), thumbnails[1].grey(second, 1.0), variant):
                found[asked.ids[row]] = seen.ids[second]
    return found
