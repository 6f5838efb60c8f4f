"""Whether the boxes of a COCO file are x, y, width, height, as the format has it, or two corners.

Tools that write corners under ``bbox`` are many, and each such box is a possible one: it only grows. What tells them
apart are the numbers beside them: the sides of the image, which corners never leave, and ``area``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from converters.formats.turned import MODE_KEYS
from mmrs.errors import BadItem

Size = tuple[int, int]
# Boxes of this many rows must leave their images before that alone is evidence: a sloppy label reaches over an edge.
LEAVING_ROWS = 3
REMEDY = (
    "state the order, by `box_order: xyxy` (or xywh, if they are right) under `options` of a description, or by "
    '`"bbox_mode": "xyxy"` in its rows'
)


def check_box_order(images: Iterable[tuple[Size | None, Iterable[Mapping[str, Any]]]], path: str) -> None:
    """Compare the boxes of a whole file with the sizes of their images and with ``area``.

    A file is refused where no row contradicts corners, at least half of the rows contradict x, y, width, height, and
    the evidence is an ``area`` or at least `LEAVING_ROWS` rows. Rows that state their own order are no evidence.

    Args:
        images: (size in pixels, annotation rows) of each image.
        path: names the file.

    Raises:
        BadItem: the boxes are corners.
    """
    rows = leaving = by_area = 0
    for size, table in images:
        for row in table:
            values = _numbers(row.get("bbox"))
            if values is None or any(row.get(key) is not None for key in MODE_KEYS):
                continue
            if not _could_be_corners(values, size):
                return
            rows += 1
            if _area_of_corners(values, row.get("area")):
                by_area += 1
            elif size is not None and _leaves(values, size):
                leaving += 1
    if 2 * (leaving + by_area) >= rows and (by_area or leaving >= LEAVING_ROWS):
        reason = (
            f"its boxes look like x1, y1, x2, y2: of {rows}, {leaving} leave their images and {by_area} contradict "
            "`area` if they are read as x, y, width, height, the order of COCO, and none does as corners"
        )
        raise BadItem(reason, path, remedy=REMEDY)


def _numbers(values: Any) -> tuple[float, float, float, float] | None:
    if not isinstance(values, list) or len(values) != 4:
        return None
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return None
    x, y, third, fourth = values
    return x, y, third, fourth


def _could_be_corners(values: tuple[float, float, float, float], size: Size | None) -> bool:
    x1, y1, x2, y2 = values
    return x1 < x2 and y1 < y2 and (size is None or (x2 <= size[0] + 1 and y2 <= size[1] + 1))


def _leaves(values: tuple[float, float, float, float], size: Size) -> bool:
    x, y, width, height = values
    return x + width > size[0] + 1 or y + height > size[1] + 1


def _area_of_corners(values: tuple[float, float, float, float], area: Any) -> bool:
    """Whether `area` is that between two corners, edges included or not, and not that of a width and a height."""
    if isinstance(area, bool) or not isinstance(area, int | float) or area <= 0:
        return False
    x1, y1, third, fourth = values
    between = ((third - x1) * (fourth - y1), (third - x1 + 1) * (fourth - y1 + 1))
    return any(abs(area - one) <= 0.01 * one for one in between) and abs(area - third * fourth) > 0.05 * third * fourth
