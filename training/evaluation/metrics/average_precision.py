"""Average precision of one class, from ranked or from equally likely boxes, by the three interpolations in use.

``area``: the area below the precision envelope (VOC 2010 and later). ``voc07``: mean of the envelope at the recalls 0,
0.1 .. 1. ``coco101``: the same at 0, 0.01 .. 1. pycocotools holds the last to its own value in a test. No package has
all three for polygons too; the functions here know no shapes, only which box was right.

Text has no confidences. With equal ones every order is as good, and AP lies between the value of the worst and that of
the best order. `tied_precision` is that of the worst: all boxes are one operating point of precision P and recall R.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_VOC07 = np.linspace(0.0, 1.0, 11)
_COCO101 = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """The value by each interpolation."""

    coco101: float
    voc07: float
    area: float


def ranked_precision(
    right: npt.NDArray[np.bool_], positives: float, weights: npt.NDArray[np.float64] | None = None
) -> AveragePrecision | None:
    """AP of boxes by falling confidence. None where there is nothing to find.

    Args:
        right: ``(N,)``, whether each box found an object; forgiven boxes are left out before.
        positives: number of objects.
        weights: ``(N,)``, how often each box counts, for draws of images; `positives` is weighted likewise.
    """
    if positives <= 0:
        return None
    weight = np.ones(len(right)) if weights is None else weights
    found = np.cumsum(weight * right)
    seen = np.cumsum(weight)
    # An image that was not drawn has boxes of no weight, which must not divide by nothing.
    precision = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
    recall = found / positives
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(recall, prepend=0.0)
    return AveragePrecision(
        coco101=_sampled(recall, envelope, _COCO101),
        voc07=_sampled(recall, envelope, _VOC07),
        area=float((steps * envelope).sum()),
    )


def tied_precision(found: int, wrong: int, positives: int) -> AveragePrecision | None:
    """AP of boxes that are all equally likely: area P R, voc07 P (floor(10 R) + 1) / 11, coco101 likewise with 100.

    None where there is nothing to find.
    """
    if positives <= 0:
        return None
    if not found:
        return AveragePrecision(0.0, 0.0, 0.0)
    precision = found / (found + wrong)
    # In whole numbers: 0.3 is no multiple of 0.1 in floating point.
    return AveragePrecision(
        coco101=precision * (100 * found // positives + 1) / 101,
        voc07=precision * (10 * found // positives + 1) / 11,
        area=precision * found / positives,
    )


def _sampled(recall: npt.NDArray[np.float64], envelope: npt.NDArray[np.float64], at: npt.NDArray[np.float64]) -> float:
    places = np.searchsorted(recall, at, side="left")
    return float(np.append(envelope, 0.0)[places].sum() / len(at))
