"""F1 of the boxes that are sure enough, where how sure is enough was chosen by other scenes.

A model that writes boxes as text writes some that it hardly believes in; by its tokens' probabilities they can be left
out, as those of any detector. Which threshold serves best depends on the model, and the best one for the scored images
themselves is a figure that no user gets. So the scenes are parted in two halves by the first bit of their names'
sha256; each half is scored with the threshold that has the best F1 in the other one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from training.evaluation.boxes.outcome import Outcome, Shapes, TrueBoxes, outcomes
from training.evaluation.boxes.scores import check_confidences, scores_of_counts
from training.evaluation.task import Answered, Scores


def score_sure_f1(pairs: Sequence[Answered[TrueBoxes]], shapes: Shapes, threshold: float) -> Scores:
    """Precision, recall and F1 over all boxes that are sure enough, each matched in the order of confidence.

    Args:
        threshold: IoU of a box that is found.

    Raises:
        UserError: an answer with boxes came without probabilities.
    """
    images = outcomes(pairs, shapes, threshold, ranked=True)
    check_confidences(pairs, images, f"Score by f1-{round(100 * threshold)}")
    half = np.array([_half(pair) for pair in pairs], dtype=np.int64)
    chosen = [
        best_confidence([image for image, own in zip(images, half, strict=True) if own != part]) for part in (0, 1)
    ]
    return scores_of_counts(
        pairs,
        [sure_counts(image, chosen[part]) for image, part in zip(images, half, strict=True)],
        {
            "least_confidence_by_half": chosen,
            "least_confidence_over_all": best_confidence(images),
            "iou_threshold": threshold,
        },
    )


def best_confidence(images: Sequence[Outcome]) -> float:
    """The confidence from which on boxes have the best F1; of several, that which keeps most. 0 where no box is right.

    The outcomes are of boxes matched by falling confidence, so that leaving out unsure ones changes no other's match.
    """
    confidence = np.concatenate([np.zeros(0), *(_confidences(image) for image in images)])
    right = np.concatenate([np.zeros(0, bool), *(image.found >= 0 for image in images)])
    counted = np.concatenate([np.zeros(0, bool), *(~image.forgiven for image in images)])
    wanted = sum(int(image.wanted.sum()) for image in images)
    malformed = sum(image.predicted.malformed for image in images)
    order = np.argsort(-confidence, kind="stable")
    found, said = right[order].cumsum(), counted[order].cumsum() + malformed
    # A threshold keeps all boxes of its confidence.
    last = np.flatnonzero(np.append(np.diff(confidence[order]) != 0, True)[: len(order)])
    if not len(last) or not found[-1]:
        return 0.0
    values = 2 * found[last] / (said[last] + wanted)
    best = np.flatnonzero(values == values.max())[-1]
    return float(confidence[order][last[best]])


def sure_counts(image: Outcome, least: float) -> tuple[int, int, int]:
    """Right, wrong and missed boxes when those that are less sure are left out."""
    kept = _confidences(image) >= least
    found = int((kept & (image.found >= 0)).sum())
    return found, int((kept & image.wrong).sum()) + image.predicted.malformed, int(image.wanted.sum()) - found


def _confidences(image: Outcome) -> npt.NDArray[np.float64]:
    given = image.predicted.confidences
    return np.ones(len(image.found)) if given is None else given


def _half(pair: Answered[TrueBoxes]) -> int:
    """Windows of a scene lie in one half."""
    record = pair.question.record
    name = f"{record.id.partition('/')[0]}/{record.image.parent}" if record.image.parent else record.id
    return hashlib.sha256(name.encode()).digest()[0] >> 7
