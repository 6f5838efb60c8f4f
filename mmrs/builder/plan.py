"""Plan: items and their headers -> shards of planned bytes in a seeded order. Pure functions of plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from mmrs.imaging.probe import ImageProbe
from mmrs.record import Window
from mmrs.seeding import seeded_order
from mmrs.source import Item, RowImage

# Planned sizes only steer where shards end; the true sizes are in the manifest.
_RECORD_BYTES = 3072
_ENCODED_BYTES_PER_PIXEL = 1.6


@dataclass(frozen=True, slots=True)
class PlannedSample:
    """One image to store: a whole file, or one window of a scene; or several files, with the headers of the further
    ones."""

    item: Item
    probe: ImageProbe
    window: Window | None = None
    further: tuple[ImageProbe, ...] = ()

    @property
    def stem(self) -> str:
        """Last part of the record id; tiles append ``__x___y`` as the DOTA tools do."""
        return self.item.stem if self.window is None else f"{self.item.stem}__{self.window.x}___{self.window.y}"

    @property
    def block(self) -> str | None:
        """What is read in one go with others of the same block: a scene for its tiles, rows of a table; else None."""
        if isinstance(self.item.image, RowImage):
            return self.item.image.block
        return self.item.stem if self.window is not None else None

    @property
    def image_bytes(self) -> int:
        """Planned size of all stored images: exact where the files pass through."""
        if self.window is not None:
            return int(self.window.width * self.window.height * _ENCODED_BYTES_PER_PIXEL)
        return sum(map(_planned_image_bytes, self.probes))

    @property
    def probes(self) -> tuple[ImageProbe, ...]:
        """The headers of all images, the first one first."""
        return (self.probe, *self.further)

    @property
    def planned_bytes(self) -> int:
        """Planned size in the tar, image and record."""
        return self.image_bytes + _RECORD_BYTES


def _planned_image_bytes(probe: ImageProbe) -> int:
    if probe.reencode is not None:
        return int(probe.width * probe.height * _ENCODED_BYTES_PER_PIXEL)
    return probe.file_bytes


def spread_apart(groups: Sequence[Hashable]) -> list[int]:
    """Reorder positions so that members of one group lie far apart: the k-th of n gets place (k + phase) / n.

    Input order decides among equals, so a seeded input gives a seeded result. Groups of one keep a random place.
    """
    counts = Counter(groups)
    seen: Counter[Hashable] = Counter()
    phases: dict[Hashable, float] = {}
    places = []
    for position, group in enumerate(groups):
        # The phase comes from the group's first position, so that groups of equal size do not march in step.
        phase = phases.setdefault(group, position / len(groups))
        places.append((seen[group] + phase) / counts[group])
        seen[group] += 1
    return sorted(range(len(groups)), key=lambda position: (places[position], position))


def fill_shards(sizes: Sequence[int], shard_bytes: int, boundaries: Sequence[bool]) -> list[range]:
    """Cut positions 0..n into consecutive ranges of about `shard_bytes`, only where `boundaries` allows a new start.

    A range ends before the boundary that would bring it over `shard_bytes`; a single block larger than that becomes a
    range of its own.
    """
    ranges, start, total, block_start, block_total = [], 0, 0, 0, 0
    for position, size in enumerate(sizes):
        if position and boundaries[position]:
            total, block_start, block_total = total + block_total, position, 0
        block_total += size
        if block_start > start and total + block_total > shard_bytes:
            ranges.append(range(start, block_start))
            start, total = block_start, 0
    if len(sizes):
        ranges.append(range(start, len(sizes)))
    return ranges


def stored_suffix(samples: Sequence[PlannedSample]) -> Literal["jpg", "png"]:
    """One image suffix for a split: JPEG when most of its bytes pass through as JPEG, PNG otherwise."""
    whole = (probe for sample in samples if sample.window is None for probe in sample.probes)
    jpg = sum(_planned_image_bytes(probe) for probe in whole if probe.suffix == "jpg")
    other = sum(sample.image_bytes for sample in samples) - jpg
    return "jpg" if jpg > other else "png"


def plan_split(samples: Sequence[PlannedSample], seed: int, shard_bytes: int) -> list[tuple[PlannedSample, ...]]:
    """The samples of one split in shards.

    Whole images: a seeded permutation in which images of one scene lie far apart. Tiles, and rows of a table: blocks
    are permuted and each stays in one shard, so that each scene or run of rows is read once; inside the shard what is
    of one block lies far apart.
    """
    in_blocks = any(sample.block is not None for sample in samples)
    if not in_blocks:
        order = seeded_order([sample.stem for sample in samples], seed, "order")
        scenes_in_order = [samples[index].item.scene or samples[index].stem for index in order]
        order = [order[position] for position in spread_apart(scenes_in_order)]
        ordered = [samples[index] for index in order]
        boundaries = [True] * len(ordered)
    else:
        blocks = sorted({sample.block or sample.stem for sample in samples})
        rank = {blocks[index]: place for place, index in enumerate(seeded_order(blocks, seed, "scenes"))}
        ordered = sorted(samples, key=lambda sample: (rank[sample.block or sample.stem], sample.stem))
        boundaries = [
            position == 0 or ordered[position - 1].block != sample.block for position, sample in enumerate(ordered)
        ]
    shards = []
    for part in fill_shards([sample.planned_bytes for sample in ordered], shard_bytes, boundaries):
        members = [ordered[position] for position in part]
        if in_blocks:
            shuffled = seeded_order([sample.stem for sample in members], seed, "tiles")
            spread = spread_apart([members[index].block for index in shuffled])
            members = [members[shuffled[position]] for position in spread]
        shards.append(tuple(members))
    return shards
