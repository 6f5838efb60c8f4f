"""Quads, horizontal and rotated boxes, the padded-square frame, clipping and IoU of horizontal boxes (numpy alone).

Pixel frame: x right, y down, origin at the top left corner of the top left pixel. A quad is four corners, clockwise on
screen. Arrays: quads ``(N, 4, 2)``, horizontal boxes ``(N, 4)`` as xmin, ymin, xmax, ymax. All functions are vectorised
and pure; none rounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def as_quads(values: npt.ArrayLike) -> Array:
    """Any nesting of 8 N numbers as ``(N, 4, 2)`` float64. Raises ValueError when the count is no multiple of 8."""
    flat = np.asarray(values, dtype=np.float64).reshape(-1)
    if flat.size % 8:
        raise ValueError(f"{flat.size} numbers are not a whole number of quads (8 each)")
    return flat.reshape(-1, 4, 2)


def quad_from_hbb(boxes: npt.ArrayLike) -> Array:
    """``(N, 4)`` xmin, ymin, xmax, ymax -> ``(N, 4, 2)`` clockwise from the top left corner."""
    x1, y1, x2, y2 = np.asarray(boxes, dtype=np.float64).reshape(-1, 4).T
    return np.stack([x1, y1, x2, y1, x2, y2, x1, y2], axis=-1).reshape(-1, 4, 2)


def hbb_from_quad(quads: npt.ArrayLike) -> Array:
    """``(N, 4, 2)`` -> the horizontal extent ``(N, 4)``."""
    quads = as_quads(quads)
    return np.concatenate([quads.min(axis=1), quads.max(axis=1)], axis=1)


def quad_from_rotated(boxes: npt.ArrayLike) -> Array:
    """``(N, 5)`` centre x, centre y, width, height, angle -> ``(N, 4, 2)`` clockwise on screen.

    The angle is in radians, from the +x axis to the width edge, clockwise on screen (y down):
    ``corner = centre + R(angle) (+-width/2, +-height/2)``. The first corner is that of (-width/2, -height/2).
    """
    cx, cy, width, height, angle = np.asarray(boxes, dtype=np.float64).reshape(-1, 5).T
    cos, sin = np.cos(angle), np.sin(angle)
    local = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=np.float64) / 2
    dx = local[:, 0] * width[:, None]
    dy = local[:, 1] * height[:, None]
    x = cx[:, None] + cos[:, None] * dx - sin[:, None] * dy
    y = cy[:, None] + sin[:, None] * dx + cos[:, None] * dy
    return np.stack([x, y], axis=-1)


def signed_area(quads: npt.ArrayLike) -> Array:
    """Shoelace area ``(N,)`` in square pixels: positive when clockwise on screen (y down)."""
    quads = as_quads(quads)
    following = quads[:, [1, 2, 3, 0]]
    cross = quads[..., 0] * following[..., 1] - following[..., 0] * quads[..., 1]
    return cross.sum(axis=1) / 2


def without_size(quads: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which quads ``(N,)`` have no area: no more than rounding to 1/10,000 pixel makes of points on one line."""
    quads = as_quads(quads)
    return np.abs(signed_area(quads)) <= 1e-4 * np.ptp(quads, axis=1).max(axis=1, initial=0)


def clockwise(quads: npt.ArrayLike) -> Array:
    """Make every quad clockwise on screen; the first corner stays first."""
    quads = as_quads(quads).copy()
    turned = signed_area(quads) < 0
    quads[turned] = quads[turned][:, [0, 3, 2, 1]]
    return quads


def canonical_quad(quads: npt.ArrayLike) -> Array:
    """Clockwise, starting at the corner nearest to the image's top left: smallest x + y, ties by smallest y."""
    quads = clockwise(quads)
    if not len(quads):
        return quads
    # Sums that differ by rounding noise only must not decide, or one box would have two texts.
    sums = np.round(quads.sum(axis=2), 6)
    tied = sums == sums.min(axis=1, keepdims=True)
    first = np.where(tied, quads[..., 1], np.inf).argmin(axis=1)
    order = (first[:, None] + np.arange(4)) % 4
    return quads[np.arange(len(quads))[:, None], order]


def box_iou(first: npt.ArrayLike, second: npt.ArrayLike) -> Array:
    """IoU of every pair of horizontal boxes: ``(N, 4)``, ``(M, 4)`` -> ``(N, M)``. No +1 pixel; empty boxes give 0."""
    a = np.asarray(first, dtype=np.float64).reshape(-1, 4)
    b = np.asarray(second, dtype=np.float64).reshape(-1, 4)
    intersection = _box_intersection(a, b)
    area_a = np.clip(a[:, 2:] - a[:, :2], 0, None).prod(axis=-1)
    area_b = np.clip(b[:, 2:] - b[:, :2], 0, None).prod(axis=-1)
    union = area_a[:, None] + area_b[None, :] - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def box_iof(first: npt.ArrayLike, second: npt.ArrayLike) -> Array:
    """Share of each first box's area inside each second one: ``(N, 4)``, ``(M, 4)`` -> ``(N, M)``; 0 if it has none."""
    a = np.asarray(first, dtype=np.float64).reshape(-1, 4)
    area = np.clip(a[:, 2:] - a[:, :2], 0, None).prod(axis=-1)[:, None]
    intersection = _box_intersection(a, np.asarray(second, dtype=np.float64).reshape(-1, 4))
    return np.divide(intersection, area, out=np.zeros_like(intersection), where=area > 0)


def clip_hbb(boxes: npt.ArrayLike, width: npt.ArrayLike, height: npt.ArrayLike) -> Array:
    """Clip ``(N, 4)`` boxes to the image, or each to its own; a box outside becomes empty at the border."""
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    return np.clip(boxes, 0, np.stack([width, height, width, height], axis=-1).astype(np.float64))


@dataclass(frozen=True, slots=True)
class SquareFrame:
    """The padded square of MMRS-1M: the image centred in a square of side max(W, H), coordinates as fractions of it.

    Offsets are floored (the released README: ``int((long - short) / 2)`` on the top or left). One frame serves x and y.
    """

    width: int
    height: int

    @property
    def side(self) -> int:
        """Side of the square in pixels."""
        return max(self.width, self.height)

    @property
    def offset(self) -> tuple[int, int]:
        """Pixels of padding on the left and on the top."""
        return (self.side - self.width) // 2, (self.side - self.height) // 2

    def to_fractions(self, points: npt.ArrayLike) -> Array:
        """Pixel points ``(..., 2)`` -> fractions of the square."""
        return (np.asarray(points, dtype=np.float64) + np.array(self.offset)) / self.side

    def to_pixels(self, points: npt.ArrayLike) -> Array:
        """Fractions of the square ``(..., 2)`` -> pixel points of the image (not clipped)."""
        return np.asarray(points, dtype=np.float64) * self.side - np.array(self.offset)


@dataclass(frozen=True, slots=True, eq=False)
class SquareFrames:
    """The `SquareFrame` of each of N boxes, for those of many images in one call.

    `width` and `height` are ``(N,)`` pixels of the image of each box.
    """

    width: npt.NDArray[np.int64]
    height: npt.NDArray[np.int64]

    @property
    def side(self) -> npt.NDArray[np.int64]:
        """Sides of the squares in pixels."""
        return np.maximum(self.width, self.height)

    def to_fractions(self, points: npt.ArrayLike) -> Array:
        """Pixel points ``(N, ..., 2)`` -> fractions of their squares."""
        points = np.asarray(points, dtype=np.float64)
        per_box = (-1, *(1,) * (points.ndim - 2))
        offset = (self.side[:, None] - np.stack([self.width, self.height], axis=-1)) // 2
        return (points + offset.reshape(*per_box, 2)) / self.side.reshape(*per_box, 1)


def _box_intersection(a: Array, b: Array) -> Array:
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=-1)
