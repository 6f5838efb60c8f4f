"""Areas of quads as polygons, through shapely: IoU, share inside a window, crossing edges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import shapely

from mmrs.geometry import Array, as_quads

# Of the square of a quad's longest edge: far more than rounding makes of a product of edges.
_ROUNDING = 1e-9


def crossing_edges(quads: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which quads ``(N,)`` are no simple polygon.

    Nearly all quads turn the same way at every corner by far more than rounding: they are convex. The others are asked
    of shapely.
    """
    quads = as_quads(quads)
    edges = quads[:, [1, 2, 3, 0]] - quads
    following = edges[:, [1, 2, 3, 0]]
    turns = edges[..., 0] * following[..., 1] - edges[..., 1] * following[..., 0]
    rounding = _ROUNDING * (np.abs(edges).max(axis=(1, 2), initial=0) ** 2)[:, None]
    doubtful = ~((turns > rounding).all(axis=1) | (turns < -rounding).all(axis=1))
    crossing = np.zeros(len(quads), dtype=bool)
    if doubtful.any():
        crossing[doubtful] = ~shapely.is_valid(shapely.polygons(quads[doubtful]))
    return crossing


def untwisted(quads: npt.ArrayLike) -> Array:
    """Quads ``(N, 4, 2)``; the corners of those with crossing edges in the order of their angle about the middle."""
    quads = as_quads(quads).copy()
    twisted = crossing_edges(quads)
    offset = quads[twisted] - quads[twisted].mean(axis=1, keepdims=True)
    order = np.argsort(np.arctan2(offset[..., 1], offset[..., 0]), axis=1, kind="stable")
    quads[twisted] = np.take_along_axis(quads[twisted], order[..., None], axis=1)
    return quads


def quad_iou(first: npt.ArrayLike, second: npt.ArrayLike) -> Array:
    """Polygon IoU of every pair of quads: ``(N, 4, 2)``, ``(M, 4, 2)`` -> ``(N, M)``.

    A quad that is not a valid polygon (crossing edges, no area) has IoU 0 with everything.
    """
    intersection, area_a, area_b = _intersections(first, second)
    union = area_a[:, None] + area_b[None, :] - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def quad_iof(first: npt.ArrayLike, second: npt.ArrayLike) -> Array:
    """Share of the first quads' areas inside the second ones: ``(N, 4, 2)``, ``(M, 4, 2)`` -> ``(N, M)``.

    A quad that is not a valid polygon shares nothing.
    """
    intersection, area, _ = _intersections(first, second)
    return np.divide(intersection, area[:, None], out=np.zeros_like(intersection), where=area[:, None] > 0)


def iof_in_window(quads: npt.ArrayLike, window: Sequence[float] | Array) -> Array:
    """Share ``(N,)`` of each quad's area inside ``(xmin, ymin, xmax, ymax)``: intersection over foreground.

    A quad without area counts by its centre: 1 inside the window, else 0. Crossing edges use the convex hull.

    Args:
        window: one for all quads, or ``(N, 4)`` with one for each.
    """
    quads = as_quads(quads)
    polygons = shapely.convex_hull(shapely.polygons(quads))
    areas = shapely.area(polygons)
    xmin, ymin, xmax, ymax = np.asarray(window, dtype=np.float64).T
    inside = shapely.area(shapely.intersection(polygons, shapely.box(xmin, ymin, xmax, ymax)))
    centres = quads.mean(axis=1)
    centre_inside = (
        (centres[:, 0] >= xmin) & (centres[:, 0] < xmax) & (centres[:, 1] >= ymin) & (centres[:, 1] < ymax)
    ).astype(np.float64)
    return np.where(areas > 0, np.divide(inside, areas, out=np.zeros_like(areas), where=areas > 0), centre_inside)


def clipped_overlaps(first: npt.ArrayLike, second: npt.ArrayLike, window: Sequence[float]) -> tuple[Array, Array]:
    """Overlap of the parts of quads ``(N, 4, 2)`` and ``(M, 4, 2)`` that lie inside ``(xmin, ymin, xmax, ymax)``: their
    IoU ``(N, M)``, and the share ``(N, M)`` of the smaller part that lies in the other."""
    a, b = (shapely.intersection(_valid(as_quads(quads)), shapely.box(*window)) for quads in (first, second))
    intersection = shapely.area(shapely.intersection(a[:, None], b[None, :]))
    area_a, area_b = shapely.area(a)[:, None], shapely.area(b)[None, :]
    totals = (area_a + area_b - intersection, np.minimum(area_a, area_b))
    iou, of_smaller = (
        np.divide(intersection, total, out=np.zeros_like(intersection), where=total > 0) for total in totals
    )
    return iou, of_smaller


def rectangle_around(quads: npt.ArrayLike) -> Array:
    """The rectangle ``(4, 2)`` of least area, at any angle, around all quads ``(N, 4, 2)`` together."""
    around = shapely.minimum_rotated_rectangle(shapely.multipoints(as_quads(quads).reshape(-1, 2)))
    corners = shapely.get_coordinates(around)
    # Points on one line have a line around them, which is a quad without area.
    return np.resize(corners[:-1] if len(corners) > 4 else corners, (4, 2))


def _intersections(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[Array, Array, Array]:
    """Areas of the intersections ``(N, M)``, of the first ``(N,)`` and of the second ``(M,)``; 0 for invalid quads."""
    quads_a, quads_b = as_quads(first), as_quads(second)
    a, b = _valid(quads_a), _valid(quads_b)
    areas = np.zeros((len(a), len(b)))
    # Few pairs of a scene meet at all, and a polygon intersection costs a hundred times what a comparison does.
    low = np.maximum(quads_a.min(axis=1)[:, None], quads_b.min(axis=1)[None, :])
    high = np.minimum(quads_a.max(axis=1)[:, None], quads_b.max(axis=1)[None, :])
    rows, columns = (low < high).all(axis=2).nonzero()
    areas[rows, columns] = shapely.area(shapely.intersection(a[rows], b[columns]))
    return areas, shapely.area(a), shapely.area(b)


def _valid(quads: Array) -> npt.NDArray[np.object_]:
    polygons = shapely.polygons(quads)
    return np.where(shapely.is_valid(polygons), polygons, shapely.Polygon())
