"""Boxes found in the windows of a large scene as boxes of the scene, every object once.

`mmrs.imaging.windows.plan_windows` says where windows lie. Two boxes of a class in two windows are one object where
they agree in what both windows see: of the smaller of their parts inside the windows' overlap at least `AGREEMENT` lies
in the other. That holds for an object that both see whole, for one that a border cuts in one of them, and for one that
no window sees whole. Where no border cuts either, their IoU must reach it too, so that a small object inside a large
one stays. Each box agrees with at most one of another window, best pairs first, so that neighbours in a dense row stay
apart; boxes of one window never merge. Of boxes of one object the one that no border cuts counts, the farthest from one
if several are whole, and where all are cut, the smallest box around all of them.

    windows = plan_windows(width, height, Tiling(size=800, overlap=200))
    found = [WindowBoxes(window, *predict(pixels)) for window, pixels in zip(windows, read(windows))]
    merged = merge_windows(found, width, height)

Shape suffixes: N boxes, 4 corners, 2 coordinates in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mmrs.geometry import as_quads, hbb_from_quad, quad_from_hbb
from training.evaluation.metrics.matching import match_best_first, same_class

if TYPE_CHECKING:
    from mmrs.record import Window

AGREEMENT = 0.5
# A border cuts a box that comes as near to it as answers of three decimals can tell, in shares of the window's side.
BORDER_SHARE = 0.004

Quads = npt.NDArray[np.float64]


@dataclass(frozen=True)
class WindowBoxes:
    """What was found in one window: a class and a quad (N, 4, 2), in pixels of the window, of each box. A horizontal
    box is a quad with sides along the axes, as `mmrs.geometry.quad_from_hbb` makes it. `confidences_N` are in 0..1;
    without them all boxes are sure."""

    window: Window
    names: Sequence[str]
    quads_N42: npt.ArrayLike
    confidences_N: npt.ArrayLike | None = None


@dataclass(frozen=True)
class MergedBoxes:
    """Objects of a scene, in the order of the windows: class, quad (N, 4, 2) in pixels of the scene, and the confidence
    (N,) of the surest of the boxes that are it."""

    names: tuple[str, ...]
    quads_N42: Quads
    confidences_N: npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Placed:
    """Boxes of one window in the scene: hulls (N, 4), and the distance (N,) of each to the nearest inner border."""

    window: Window
    names: Sequence[str]
    quads_N42: Quads
    confidences_N: npt.NDArray[np.float64]
    clearance_N: npt.NDArray[np.float64]


def merge_windows(found: Sequence[WindowBoxes], width: int, height: int) -> MergedBoxes:
    """Every object of the scene once.

    Args:
        found: of every window; those without a box may be left out.
        width, height: of the scene in pixels.

    Raises:
        ValueError: a window has another number of names, or of confidences, than of boxes.
    """
    placed = [_place(each, width, height) for each in found]
    first = np.cumsum([0, *(len(each.names) for each in placed)])
    group = np.arange(first[-1])
    for (a, left), (b, right) in combinations(enumerate(placed), 2):
        for i, j in _agreeing(left, right):
            one, other = sorted((group[first[a] + i], group[first[b] + j]))
            group[group == other] = one
    names, quads = (
        [name for each in placed for name in each.names],
        [quad for each in placed for quad in each.quads_N42],
    )
    clearance = np.concatenate([np.zeros(0), *(each.clearance_N for each in placed)])
    confidences = np.concatenate([np.zeros(0), *(each.confidences_N for each in placed)])
    kept_names, kept, surest = [], [], []
    for number in np.unique(group):
        members = np.flatnonzero(group == number)
        best = members[clearance[members].argmax()]
        kept_names.append(names[best])
        surest.append(confidences[members].max())
        whole = len(members) == 1 or clearance[best] > 0
        kept.append(quads[best] if whole else _around(np.stack([quads[member] for member in members])))
    return MergedBoxes(
        tuple(kept_names), as_quads(np.array(kept)) if kept else np.zeros((0, 4, 2)), np.array(surest, dtype=np.float64)
    )


def _place(found: WindowBoxes, width: int, height: int) -> _Placed:
    quads_N42, window = as_quads(found.quads_N42), found.window
    if len(quads_N42) != len(found.names):
        raise ValueError(f"{len(found.names)} names for {len(quads_N42)} boxes in the window at {window.x}, {window.y}")
    sure_N = np.ones(len(quads_N42)) if found.confidences_N is None else np.asarray(found.confidences_N, np.float64)
    if len(sure_N) != len(quads_N42):
        raise ValueError(
            f"{len(sure_N)} confidences for {len(quads_N42)} boxes in the window at {window.x}, {window.y}"
        )
    quads_N42 = quads_N42 + np.array([window.x, window.y], dtype=np.float64)
    hull_N4 = hbb_from_quad(quads_N42)
    right, bottom = window.x + window.width, window.y + window.height
    distances = [
        hull_N4[:, 0] - window.x if window.x > 0 else None,
        hull_N4[:, 1] - window.y if window.y > 0 else None,
        right - hull_N4[:, 2] if right < width else None,
        bottom - hull_N4[:, 3] if bottom < height else None,
    ]
    margin = BORDER_SHARE * max(window.width, window.height)
    clearance_N = np.full(len(hull_N4), np.inf)
    for distance_N in distances:
        if distance_N is not None:
            clearance_N = np.minimum(clearance_N, distance_N - margin)
    return _Placed(window, found.names, quads_N42, sure_N, clearance_N)


def _agreeing(left: _Placed, right: _Placed) -> list[tuple[int, int]]:
    """Pairs of boxes of two windows that are one object."""
    a, b = left.window, right.window
    low = max(a.x, b.x), max(a.y, b.y)
    high = min(a.x + a.width, b.x + b.width), min(a.y + a.height, b.y + b.height)
    if low[0] >= high[0] or low[1] >= high[1] or not len(left.names) or not len(right.names):
        return []
    # Boxes need shapely, which reading answers does without.
    from mmrs.polygons import clipped_overlaps

    iou, of_smaller = clipped_overlaps(left.quads_N42, right.quads_N42, (*low, *high))
    cut = (left.clearance_N <= 0)[:, None] | (right.clearance_N <= 0)[None, :]
    found = match_best_first(np.where(cut, of_smaller, iou), same_class(left.names, right.names), AGREEMENT)
    return [(i, int(j)) for i, j in enumerate(found) if j >= 0]


def _around(quads_N42: Quads) -> Quads:
    """The smallest box (4, 2) around pieces of one object, along the axes where all of them are."""
    hull_N4 = hbb_from_quad(quads_N42)
    if np.allclose(np.sort(quad_from_hbb(hull_N4), axis=1), np.sort(quads_N42, axis=1)):
        return quad_from_hbb(np.concatenate((hull_N4[:, :2].min(0), hull_N4[:, 2:].max(0)))[None])[0]
    from mmrs.polygons import rectangle_around

    return rectangle_around(quads_N42)
