"""Scores as pure functions of answers and references.

Classification: exact match after normalising case, blanks and the final full stop; an answer outside the class list
is wrong and counted apart. Detection: precision, recall and F1 with one-to-one matching inside each category at an IoU
threshold; needs no confidences and no order. Whatever cannot be read counts as a false positive, never as absent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_RESAMPLES = 1000


def normalise_answer(text: str) -> str:
    """Lower case, single blanks, no final full stop; ``_`` and ``-`` read as blanks."""
    words = text.lower().replace("_", " ").replace("-", " ").split()
    return " ".join(words).rstrip(".").strip()


@dataclass(frozen=True, slots=True)
class DetectionCounts:
    """Boxes of one image: matched, predicted without a match (malformed ones included), true without a match."""

    true_positives: int
    false_positives: int
    false_negatives: int


def count_detections(
    iou: npt.NDArray[np.float64],
    predicted: Sequence[str | None],
    true: Sequence[str],
    ignored: npt.NDArray[np.bool_],
    malformed: int,
    threshold: float,
) -> DetectionCounts:
    """Match predictions to true boxes of the same category, best IoU first, each at most once.

    Args:
        iou: ``(predictions, true boxes)``.
        predicted: category of each prediction, None for an unknown name.
        true: category of each true box.
        ignored: true boxes that count neither as found nor as missed; predictions on them are left out too.
        malformed: pieces of the answer that were no box.
        threshold: least IoU of a match.
    """
    same = np.array([[p == t for t in true] for p in predicted], dtype=bool).reshape(len(predicted), len(true))
    allowed = (iou >= threshold) & same & ~ignored[None, :]
    matched_predictions: set[int] = set()
    matched_true: set[int] = set()
    pairs = np.argwhere(allowed)
    for index in np.argsort(-iou[allowed], kind="stable"):
        prediction, target = int(pairs[index][0]), int(pairs[index][1])
        if prediction not in matched_predictions and target not in matched_true:
            matched_predictions.add(prediction)
            matched_true.add(target)
    on_ignored = set(np.flatnonzero(((iou >= threshold) & ignored[None, :]).any(axis=1)).tolist())
    unmatched = set(range(len(predicted))) - matched_predictions - on_ignored
    found = len(matched_true)
    return DetectionCounts(found, len(unmatched) + malformed, int((~ignored).sum()) - found)


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


def ratio(counts: npt.ArrayLike) -> float:
    """Sum of the first column of ``(N, 2)`` rows over that of the second: right answers over questions."""
    right, of = np.asarray(counts, dtype=np.float64).reshape(-1, 2).sum(axis=0)
    return float(right / of) if of else 0.0


def sum_by_image(images: Sequence[str], rows: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Rows of questions ``(Q, K)`` added up by image, in order of first appearance: ``(images, K)``."""
    number = {image: position for position, image in enumerate(dict.fromkeys(images))}
    values = np.asarray(rows, dtype=np.float64).reshape(len(images), -1)
    sums = np.zeros((len(number), values.shape[1]))
    np.add.at(sums, [number[image] for image in images], values)
    return sums


def bootstrap_interval(
    rows: npt.ArrayLike, score: Callable[[npt.NDArray[np.float64]], float | None], seed: int = 0
) -> tuple[float, float] | None:
    """95 % interval of ``score(rows)`` when images are drawn with replacement; `rows` has one row per image.

    Draws whose score is undefined (None) are left out; None where all are.
    """
    values = np.asarray(rows, dtype=np.float64)
    generator = np.random.default_rng(seed)
    draws = [score(values[generator.integers(0, len(values), len(values))]) for _ in range(_RESAMPLES)]
    defined = [value for value in draws if value is not None]
    if not defined:
        return None
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)
