"""Boxes of records and of answers as arrays, and what became of each predicted one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmrs.geometry import Array, quad_from_hbb
from mmrs.instructions.answers import ParsedGroup, count_word, parse_detections
from mmrs.instructions.prompts import plural
from mmrs.record import Record
from training.evaluation.metrics.matching import Flags, forgiven, match_best_first, match_in_order, same_class
from training.evaluation.task import Answered, AnswerForm, Truth


@dataclass(frozen=True)
class TrueBoxes(Truth):
    """The objects of one image in pixels: quads ``(N, 4, 2)``, extents ``(N, 4)``, categories.

    Args:
        ignored: neither found nor missed, and predictions inside them are forgiven: what the source says to ignore
            (crowds, DontCare), and difficult objects, by the rule of VOC and DOTA.
        listed: objects that a right answer of ours lists: all but those that the source says to ignore.
        nameless: whose category is no class of the source, such as DontCare: what lies there may be of any class.
        labelled: classes whose objects are all among them.
        unread: how many rows of the annotation were not understood. Each may be an object that is not here, so what is
            here counts as found or missed, and nothing that is predicted beside it is called wrong.
    """

    quads: Array
    extents: Array
    categories: tuple[str, ...]
    ignored: Flags
    listed: Flags
    nameless: Flags
    labelled: frozenset[str]
    unread: int = 0


@dataclass(frozen=True, slots=True)
class PredictedBoxes:
    """Boxes of an answer in its order: quads ``(N, 4, 2)``, extents ``(N, 4)``, categories (None: no known name).

    `confidences` ``(N,)`` are the geometric means of the probabilities of each box's tokens; None where the answer came
    without them. `malformed` counts pieces that were no box.
    """

    quads: Array
    extents: Array
    categories: tuple[str | None, ...]
    confidences: Array | None
    malformed: int


@dataclass(frozen=True, slots=True)
class Shapes:
    """How boxes are compared: IoU and share of own area, each ``(predictions, true boxes)``."""

    iou: Callable[[PredictedBoxes, TrueBoxes], Array]
    inside: Callable[[PredictedBoxes, TrueBoxes], Array]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer against one image's truth: of each prediction the true box that it found (-1: none), and whether it is
    forgiven; of each true box the best IoU of any prediction."""

    truth: TrueBoxes
    predicted: PredictedBoxes
    found: npt.NDArray[np.int64]
    forgiven: Flags
    best_iou: Array

    @property
    def wrong(self) -> Flags:
        """Predictions that found nothing and are not forgiven."""
        return (self.found < 0) & ~self.forgiven

    @property
    def wanted(self) -> Flags:
        """True boxes that are to be found."""
        return ~self.truth.ignored


def true_boxes(record: Record, form: AnswerForm) -> TrueBoxes:
    """The boxes that a record states."""
    return TrueBoxes(
        text=_counts_text(Counter(item.category for item in record.objects if not item.ignore)),
        quads=np.array([item.quad for item in record.objects], dtype=np.float64).reshape(-1, 4, 2),
        extents=np.array([item.extent() for item in record.objects], dtype=np.float64).reshape(-1, 4),
        categories=tuple(item.category for item in record.objects),
        ignored=np.array([item.ignore or item.difficult for item in record.objects], dtype=bool),
        listed=np.array([not item.ignore for item in record.objects], dtype=bool),
        nameless=np.array([item.category not in form.categories for item in record.objects], dtype=bool),
        labelled=frozenset(record.metadata.get("labelled_classes", form.categories)),
        unread=record.unread_rows,
    )


def parsed_groups(answered: Answered[TrueBoxes]) -> list[ParsedGroup]:
    """Every bracket group of the answer."""
    question = answered.question
    return parse_detections(answered.answer.text, question.frame, question.form.categories, question.form.dialect)


def predicted_boxes(answered: Answered[TrueBoxes]) -> PredictedBoxes:
    """The boxes of an answer, without those of known classes that are not labelled in the image."""
    unlabelled = frozenset(answered.question.form.categories) - answered.question.truth.labelled
    groups = parsed_groups(answered)
    kept = [group for group in groups if group.category not in unlabelled]
    quads = [group.boxes.quads if group.boxes.quads is not None else quad_from_hbb(group.boxes.hbb) for group in kept]
    confidences = _confidences(answered, groups)
    known = [values for group, values in zip(groups, confidences, strict=True) if group.category not in unlabelled]
    return PredictedBoxes(
        quads=np.concatenate(quads) if quads else np.empty((0, 4, 2)),
        extents=np.concatenate([group.boxes.hbb for group in kept]) if kept else np.empty((0, 4)),
        categories=tuple(group.category for group in kept for _ in range(len(group.boxes.hbb))),
        confidences=None if answered.answer.box_log_probabilities is None else np.exp(np.concatenate([[], *known])),
        malformed=sum(group.boxes.malformed for group in kept),
    )


def outcome(
    truth: TrueBoxes, predicted: PredictedBoxes, shapes: Shapes, threshold: float, by_confidence: bool = False
) -> Outcome:
    """Match within each class at an IoU of at least `threshold`: the largest IoU first, or as predictions are ranked.

    An ignored object forgives predictions of its own class, one that is nameless those of every class. In an image with
    rows that were not understood every prediction that found nothing is forgiven.
    """
    iou = shapes.iou(predicted, truth)
    agree = same_class(predicted.categories, truth.categories)
    allowed = agree & ~truth.ignored[None, :]
    if by_confidence:
        confidences = predicted.confidences if predicted.confidences is not None else np.ones(len(iou))
        order = np.argsort(-confidences, kind="stable").tolist()
        found = match_in_order(iou, allowed, order, threshold)
    else:
        found = match_best_first(iou, allowed, threshold)
    hidden = (found < 0) & (truth.unread > 0)
    if not truth.unread and truth.ignored.any() and len(iou):
        regions = truth.ignored[None, :] & (agree | truth.nameless[None, :])
        hidden = forgiven(found, shapes.inside(predicted, truth), regions, threshold)
    best = iou.max(axis=0) if len(iou) else np.zeros(len(truth.categories))
    return Outcome(truth, predicted, found, hidden, best)


def outcomes(
    pairs: Sequence[Answered[TrueBoxes]], shapes: Shapes, threshold: float, ranked: bool = False
) -> list[Outcome]:
    """The outcome of each answer; `ranked`: by confidence."""
    return [outcome(pair.question.truth, predicted_boxes(pair), shapes, threshold, ranked) for pair in pairs]


def _confidences(answered: Answered[TrueBoxes], groups: Sequence[ParsedGroup]) -> list[Array]:
    """Log-probabilities of the readable boxes of each group; empty ones where the answer came without."""
    given = answered.answer.box_log_probabilities
    if given is None:
        return [np.empty(0) for _ in groups]
    values, start = [], 0
    for group in groups:
        sound = group.boxes.sound
        values.append(np.array([given[start + place] for place, is_box in enumerate(sound) if is_box]))
        start += len(sound)
    return values


def _counts_text(counts: Counter[str]) -> str:
    named = [f"{count_word(count)} {name if count == 1 else plural(name)}" for name, count in counts.items()]
    return ", ".join(named) or "no objects"
