"""Areas of quads as polygons, through shapely: IoU, share inside a window, crossing edges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import shapely

from mmrs.geometry import Array, as_quads


def crossing_edges(quads: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which quads ``(N,)`` are no simple polygon."""
    return ~shapely.is_valid(shapely.polygons(as_quads(quads)))


def quad_iou(first: npt.ArrayLike, second: npt.ArrayLike) -> Array:
    """Polygon IoU of every pair of quads: ``(N, 4, 2)``, ``(M, 4, 2)`` -> ``(N, M)``.

    A quad that is not a valid polygon (crossing edges, no area) has IoU 0 with everything.
    """
    a, b = shapely.polygons(as_quads(first)), shapely.polygons(as_quads(second))
    usable = shapely.is_valid(a)[:, None] & shapely.is_valid(b)[None, :]
    a = np.where(shapely.is_valid(a), a, shapely.Polygon())
    b = np.where(shapely.is_valid(b), b, shapely.Polygon())
    intersection = shapely.area(shapely.intersection(a[:, None], b[None, :]))
    union = shapely.area(a)[:, None] + shapely.area(b)[None, :] - intersection
    return np.where(usable, np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0), 0.0)


def iof_in_window(quads: npt.ArrayLike, window: Sequence[float]) -> Array:
    """Share ``(N,)`` of each quad's area inside ``(xmin, ymin, xmax, ymax)``: intersection over foreground.

    A quad without area counts by its centre: 1 inside the window, else 0. Crossing edges use the convex hull.
    """
    quads = as_quads(quads)
    polygons = shapely.convex_hull(shapely.polygons(quads))
    areas = shapely.area(polygons)
    inside = shapely.area(shapely.intersection(polygons, shapely.box(*window)))
    centres = quads.mean(axis=1)
    xmin, ymin, xmax, ymax = window
    centre_inside = (
        (centres[:, 0] >= xmin) & (centres[:, 0] < xmax) & (centres[:, 1] >= ymin) & (centres[:, 1] < ymax)
    ).astype(np.float64)
    return np.where(areas > 0, np.divide(inside, areas, out=np.zeros_like(areas), where=areas > 0), centre_inside)
