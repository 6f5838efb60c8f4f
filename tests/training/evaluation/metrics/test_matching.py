"""Matching and F1 against brute force and by hand."""

from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrs.geometry import box_iof, box_iou
from training.evaluation.metrics.intervals import bootstrap_interval
from training.evaluation.metrics.matching import f1, f1_score, forgiven, match_best_first, match_in_order, same_class

corner = st.integers(0, 20)
box = st.tuples(corner, corner, st.integers(4, 12), st.integers(4, 12)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
labelled = st.lists(st.tuples(box, st.sampled_from(["car", "ship"])), max_size=5)


@dataclass(frozen=True)
class Counts:
    true_positives: int
    false_positives: int
    false_negatives: int


def count(predicted, true, ignored=None, threshold=0.5):
    """Counts of best-first matching; ignored true boxes forgive predictions of every class."""
    first, second = [b for b, _ in predicted], [b for b, _ in true]
    iou = box_iou(first, second)
    ignored = np.zeros(len(true), bool) if ignored is None else np.array(ignored)
    agree = same_class([c for _, c in predicted], [c for _, c in true])
    found = match_best_first(iou, agree & ~ignored[None, :], threshold)
    hidden = forgiven(found, box_iof(first, second), np.broadcast_to(ignored, iou.shape), threshold)
    hits = int((found >= 0).sum())
    return Counts(hits, int(((found < 0) & ~hidden).sum()), int((~ignored).sum()) - hits)


@given(labelled, labelled)
def test_every_box_is_counted_once(predicted, true):
    result = count(predicted, true)
    assert result.true_positives + result.false_positives == len(predicted)
    assert result.true_positives + result.false_negatives == len(true)


@given(labelled, labelled)
def test_matching_is_one_to_one_and_nearly_the_largest(predicted, true):
    """Greedy matching is maximal, so it finds at least half of the largest matching (found here by brute force)."""
    iou = box_iou([b for b, _ in predicted], [b for b, _ in true])
    allowed = [[iou[i, j] >= 0.5 and p[1] == t[1] for j, t in enumerate(true)] for i, p in enumerate(predicted)]
    small, large = sorted((len(predicted), len(true)))
    rows = range(len(predicted))
    best = 0
    if len(predicted) <= len(true):
        best = max(
            (
                sum(allowed[i][j] for i, j in zip(rows, order, strict=True))
                for order in permutations(range(large), small)
            ),
            default=0,
        )
    else:
        best = max(
            (sum(allowed[i][j] for j, i in enumerate(order)) for order in permutations(range(large), small)), default=0
        )
    found = count(predicted, true).true_positives
    assert best / 2 <= found <= best


def test_two_predictions_cannot_share_a_true_box():
    result = count([((0, 0, 10, 10), "car"), ((0, 0, 10, 9), "car")], [((0, 0, 10, 10), "car")])
    assert (result.true_positives, result.false_positives, result.false_negatives) == (1, 1, 0)


def test_the_category_must_agree_and_unknown_names_are_wrong():
    true = [((0, 0, 10, 10), "car")]
    for name in ("ship", None):
        result = count([((0, 0, 10, 10), name)], true)
        assert (result.true_positives, result.false_positives, result.false_negatives) == (0, 1, 1)


def test_ignored_boxes_count_for_nothing():
    result = count([((0, 0, 10, 10), "car")], [((0, 0, 10, 10), "dontcare"), ((30, 30, 40, 40), "car")], [True, False])
    assert (result.true_positives, result.false_positives, result.false_negatives) == (0, 0, 1)


def test_a_small_box_inside_a_large_ignored_region_is_forgiven_by_its_own_area():
    region = [((0, 0, 100, 100), "crowd")]
    assert count([((10, 10, 14, 14), "car")], region, [True]).false_positives == 0
    assert count([((98, 98, 104, 104), "car")], region, [True]).false_positives == 1


@given(labelled, labelled)
def test_in_order_each_prediction_takes_its_best_free_box(predicted, true):
    iou = box_iou([b for b, _ in predicted], [b for b, _ in true])
    agree = same_class([c for _, c in predicted], [c for _, c in true])
    found = match_in_order(iou, agree, range(len(predicted)), 0.5)
    for place, target in enumerate(found.tolist()):
        free = [
            other
            for other in range(len(true))
            if agree[place, other] and iou[place, other] >= 0.5 and other not in found[:place]
        ]
        assert (target >= 0) == bool(free)
        assert target < 0 or (target in free and iou[place, target] == max(iou[place, other] for other in free))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [([(1, 0, 0)], (1, 1, 1)), ([(0, 3, 1)], (0, 0, 0)), ([(1, 1, 0), (1, 0, 2)], (2 / 3, 0.5, 4 / 7))],
)
def test_f1_by_hand(rows, expected):
    assert f1(rows) == pytest.approx(expected)


@pytest.mark.parametrize("rows", [[(0, 0, 0)], [(0, 2, 0), (0, 0, 0)]])
def test_f1_is_undefined_where_there_is_nothing_to_find(rows):
    assert f1(rows) is None and bootstrap_interval(rows, f1_score) is None
