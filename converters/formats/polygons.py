"""Polygons of annotation files -> the oriented box around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from converters.formats.shapes import BoxObject
from converters.formats.text import finite, shown
from mmrs.errors import BadItem
from mmrs.geometry import Array

# Areas that differ by rounding only must not decide between two rectangles.
_EQUAL_AREAS = 1e-9


def min_area_corners(points: npt.ArrayLike) -> Array:
    """Corners ``(4, 2)`` of the rectangle of least area around points ``(K, 2)``, in pixels.

    One side of it lies along an edge of the convex hull. Among rectangles of equal area the one whose side makes the
    smallest angle (0 to below 90 degrees) with the x axis is taken, so that the result depends on the points alone.
    Points on one line give a rectangle without area.
    """
    # A scan of a small folder takes as long as its imports, and few sets have polygons.
    import shapely

    hull = shapely.get_coordinates(shapely.convex_hull(shapely.multipoints(np.asarray(points, dtype=np.float64))))
    edges = np.diff(hull, axis=0)
    angles = np.unique(np.round(np.arctan2(edges[:, 1], edges[:, 0]) % (np.pi / 2), 12)) if len(edges) else np.zeros(1)
    along = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    u, v = hull @ along.T, hull @ across.T
    low_u, high_u, low_v, high_v = u.min(axis=0), u.max(axis=0), v.min(axis=0), v.max(axis=0)
    areas = (high_u - low_u) * (high_v - low_v)
    best = int(np.flatnonzero(areas <= areas.min() * (1 + _EQUAL_AREAS) + _EQUAL_AREAS)[0])
    corners = [(low_u, low_v), (high_u, low_v), (high_u, high_v), (low_u, high_v)]
    return np.array([a[best] * along[best] + b[best] * across[best] for a, b in corners])


def coco_points(row: dict[str, Any], path: str) -> Array:
    """All points ``(K, 2)`` of a COCO row's polygons; no point where ``segmentation`` is absent or empty.

    Raises:
        BadItem: run-length masks, or lists that are no points.
    """
    what = f"segmentation of annotation {shown(row.get('id'))}"
    polygons = row.get("segmentation") or []
    if not isinstance(polygons, list) or not all(isinstance(part, list) and len(part) % 2 == 0 for part in polygons):
        raise BadItem(f"{what} is {shown(polygons)}, lists of x, y are expected", path)
    numbers = [finite(value, what, path) for part in polygons for value in part]
    return np.array(numbers, dtype=np.float64).reshape(-1, 2)


def pixel_squares(points: Array) -> Array:
    """Points of a pixel contour ``(K, 2)``, each replaced by the corners of its pixel; fractional points stay.

    A polygon of whole numbers lists pixels, and pixel (x, y) covers x..x+1 and y..y+1. One with a fraction anywhere was
    drawn by hand and lists places.
    """
    if not len(points) or (points != np.floor(points)).any():
        return points
    return (points[:, None] + np.array([[0, 0], [1, 0], [1, 1], [0, 1]])).reshape(-1, 2)


def as_corners(quad: Sequence[Sequence[float]] | Array) -> tuple[float, ...]:
    """Four corners as the eight plain numbers of `BoxObject.corners`."""
    return tuple(float(value) for value in np.asarray(quad, dtype=np.float64).reshape(-1))


def outlined_object(label: str, points: Array) -> BoxObject:
    """An object drawn by the outline ``(N, 2)``, in pixels: its extent, and the rectangle of least area around it."""
    (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return BoxObject(label, (x1, y1, x2, y2), corners=as_corners(min_area_corners(points)))
