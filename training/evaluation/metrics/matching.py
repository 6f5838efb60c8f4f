"""Predicted boxes against true ones: one-to-one matching within each class, and precision, recall, F1 of the counts.

Whatever cannot be read counts as a false positive, never as absent. A prediction without a match is forgiven where it
lies inside an ignored region, judged by the share of its own area that is inside, as pycocotools does for crowds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Flags = npt.NDArray[np.bool_]
Overlaps = npt.NDArray[np.float64]


def same_class(predicted: Sequence[str | None], true: Sequence[str]) -> Flags:
    """``(predictions, true boxes)``: whether the names agree. None, an unknown name, agrees with nothing."""
    return np.array([[p == t for t in true] for p in predicted], dtype=bool).reshape(len(predicted), len(true))


def match_best_first(iou: Overlaps, allowed: Flags, threshold: float) -> npt.NDArray[np.int64]:
    """The true box that each prediction gets ``(P,)``, -1 for none: pairs by falling IoU, each box at most once.

    The result does not depend on the order of the predictions, but for equal IoUs.
    """
    found = np.full(len(iou), -1, dtype=np.int64)
    usable = allowed & (iou >= threshold)
    pairs = np.argwhere(usable)
    taken: set[int] = set()
    for index in np.argsort(-iou[usable], kind="stable").tolist():
        prediction, target = int(pairs[index, 0]), int(pairs[index, 1])
        if found[prediction] < 0 and target not in taken:
            found[prediction] = target
            taken.add(target)
    return found


def match_in_order(iou: Overlaps, allowed: Flags, order: Sequence[int], threshold: float) -> npt.NDArray[np.int64]:
    """As `match_best_first`, but predictions choose one after another, each its best free true box.

    That is the rule of pycocotools, where `order` is by falling confidence; of equal IoUs the later true box is taken.
    """
    found = np.full(len(iou), -1, dtype=np.int64)
    free = np.where(allowed & (iou >= threshold), iou, -1.0)
    for prediction in order:
        if not free.shape[1]:
            break
        target = free.shape[1] - 1 - int(free[prediction, ::-1].argmax())
        if free[prediction, target] >= 0:
            found[prediction] = target
            free[:, target] = -1.0
    return found


def forgiven(matched: npt.NDArray[np.int64], inside: Overlaps, regions: Flags, threshold: float) -> Flags:
    """Which predictions ``(P,)`` count neither as found nor as false: unmatched ones inside an ignored region.

    Args:
        inside: ``(P, true boxes)``, share of the prediction's own area inside each.
        regions: ``(P, true boxes)``, ignored ones that may hold objects of the prediction's class.
    """
    return (matched < 0) & (regions & (inside >= threshold)).any(axis=1)


def f1(counts: npt.ArrayLike) -> tuple[float, float, float] | None:
    """(precision, recall, F1) from ``(N, 3)`` rows of true positives, false positives, false negatives, summed.

    None where there is nothing to find: neither right nor wrong answers have a recall then.
    """
    found, wrong, missed = np.asarray(counts, dtype=np.float64).reshape(-1, 3).sum(axis=0)
    if found + missed == 0:
        return None
    precision = found / (found + wrong) if found + wrong else 0.0
    score = 2 * found / (2 * found + wrong + missed)
    return float(precision), float(found / (found + missed)), float(score)


def f1_score(counts: npt.ArrayLike) -> float | None:
    """The last of `f1`."""
    scores = f1(counts)
    return None if scores is None else scores[2]
