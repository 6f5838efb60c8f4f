"""Regions of a crowded image, each with few enough objects for one dialogue.

The image is halved across its longer side, and each half again, until no part holds more objects than a dialogue may.
Cuts lie where the dialect can write them exactly, so a region's text and the objects said to lie in it agree: an object
belongs to the region in which its centre lies, one on a cut to the region right of it or below. Only objects that share
a place closer than the dialect's grid can be left over. Explained in docs/understand/crowds.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mmrs.geometry import Array, SquareFrame, clip_hbb
from mmrs.instructions.dialects import ParsedBoxes

# Reading text leaves a rounding error of floats; without it a centre can lie on a cut exactly.
_EXACT_DECIMALS = 6


class RegionBoxes(Protocol):
    """What a region needs of the one who writes it: the two of `mmrs.instructions.dialects.Dialect`."""

    def format_hbb(self, boxes: npt.ArrayLike, frame: SquareFrame) -> str: ...

    def parse(self, text: str, frame: SquareFrame) -> ParsedBoxes: ...


@dataclass(frozen=True, slots=True)
class Region:
    """A part of an image: its box as the dialect writes it, brackets included, and which objects lie in it."""

    text: str
    members: tuple[int, ...]


def object_centres(extents: npt.ArrayLike, frame: SquareFrame) -> Array:
    """Centres ``(N, 2)`` of what the image shows of ``(N, 4)`` pixel boxes."""
    visible = clip_hbb(extents, frame.width, frame.height).reshape(-1, 4)
    return (visible[:, :2] + visible[:, 2:]) / 2


def cut_regions(centres: Array, frame: SquareFrame, dialect: RegionBoxes, most: int) -> list[Region]:
    """Regions with 1 to `most` of the ``(N, 2)`` pixel centres, in reading order of the cuts; empty ones are left out.

    Members are positions in `centres`, ascending. Centres that no cut of the dialect's grid can part are in no region.
    """
    regions: list[Region] = []
    pending = [(_whole(frame, dialect), np.arange(len(centres)))]
    while pending:
        box, members = pending.pop()
        if 0 < len(members) <= most:
            regions.append(Region(dialect.format_hbb([box], frame), tuple(members.tolist())))
        if len(members) <= most:
            continue
        cut = _cut(box, frame, dialect)
        if cut is None:
            continue
        axis, place = cut
        first, second = list(box), list(box)
        first[axis + 2] = second[axis] = place
        before = centres[members, axis] < place
        pending += [(tuple(second), members[~before]), (tuple(first), members[before])]
    return regions


def region_members(text: str, centres: Array, frame: SquareFrame, dialect: RegionBoxes) -> list[int]:
    """Positions of the ``(N, 2)`` pixel centres that lie in a region, given as the dialect writes it, without brackets.

    Empty where the text is not one box. Outwards an edge of the image bounds nothing, as written it may be rounded.
    """
    boxes = dialect.parse(text, frame).hbb
    if len(boxes) != 1:
        return []
    box = boxes[0].round(_EXACT_DECIMALS)
    whole = np.array(_whole(frame, dialect))
    low = np.where(box[:2] <= whole[:2], -np.inf, box[:2])
    high = np.where(box[2:] >= whole[2:], np.inf, box[2:])
    return np.flatnonzero(((centres >= low) & (centres < high)).all(axis=1)).tolist()


def _cut(box: Sequence[float], frame: SquareFrame, dialect: RegionBoxes) -> tuple[int, float] | None:
    """(axis, pixel) of the cut through the middle of the longer side, of the other where that cannot be cut."""
    longer = 0 if box[2] - box[0] >= box[3] - box[1] else 1
    for axis in (longer, 1 - longer):
        half = list(box)
        half[axis + 2] = (box[axis] + box[axis + 2]) / 2
        written = _as_written(half, frame, dialect)
        if written is not None and box[axis] < written[axis + 2] < box[axis + 2]:
            return axis, written[axis + 2]
    return None


def _whole(frame: SquareFrame, dialect: RegionBoxes) -> tuple[float, ...]:
    box = (0.0, 0.0, float(frame.width), float(frame.height))
    return _as_written(box, frame, dialect) or box


def _as_written(box: Sequence[float], frame: SquareFrame, dialect: RegionBoxes) -> tuple[float, ...] | None:
    """The pixel box that a reader of the dialect's text has, None where the text has no area."""
    boxes = dialect.parse(dialect.format_hbb([box], frame)[1:-1], frame).hbb
    return tuple(boxes[0].round(_EXACT_DECIMALS).tolist()) if len(boxes) else None
