"""Scores against brute force and by hand."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrs.geometry import box_iou
from training.evaluation.metrics import (
    bootstrap_interval,
    count_detections,
    f1,
    f1_score,
    normalise_answer,
    ratio,
    sum_by_image,
)

corner = st.integers(0, 20)
box = st.tuples(corner, corner, st.integers(4, 12), st.integers(4, 12)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
labelled = st.lists(st.tuples(box, st.sampled_from(["car", "ship"])), max_size=5)


def count(predicted, true, ignored=None, malformed=0, threshold=0.5):
    iou = box_iou([b for b, _ in predicted], [b for b, _ in true])
    ignored = np.zeros(len(true), bool) if ignored is None else np.array(ignored)
    return count_detections(iou, [c for _, c in predicted], [c for _, c in true], ignored, malformed, threshold)


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


def test_malformed_boxes_are_false_positives():
    assert count([], [], malformed=3).false_positives == 3


@pytest.mark.parametrize(
    ("rows", "expected"),
    [([(1, 0, 0)], (1, 1, 1)), ([(0, 3, 1)], (0, 0, 0)), ([(1, 1, 0), (1, 0, 2)], (2 / 3, 0.5, 4 / 7))],
)
def test_f1_by_hand(rows, expected):
    assert f1(rows) == pytest.approx(expected)


@pytest.mark.parametrize("rows", [[(0, 0, 0)], [(0, 2, 0), (0, 0, 0)]])
def test_f1_is_undefined_where_there_is_nothing_to_find(rows):
    assert f1(rows) is None and bootstrap_interval(rows, f1_score) is None


def test_draws_without_an_object_are_left_out_of_the_interval():
    assert bootstrap_interval([(1, 0, 0), (0, 0, 0)], f1_score) == (1, 1)


def test_bootstrap_interval_holds_the_estimate_and_narrows():
    generator = np.random.default_rng(0)
    few, many = generator.random(40) < 0.7, generator.random(4000) < 0.7
    low, high = bootstrap_interval(few, np.mean)
    narrow = bootstrap_interval(many, np.mean)
    assert low < few.mean() < high
    assert narrow[1] - narrow[0] < (high - low) / 4
    assert bootstrap_interval(few, np.mean) == (low, high)


@pytest.mark.parametrize("text", ["Golf Course", "golf course.", " golf_course ", "golf-course", "GOLF  COURSE."])
def test_normalised_answers(text):
    assert normalise_answer(text) == "golf course"


def test_questions_are_added_up_by_image():
    rows = sum_by_image(["b", "a", "b"], [[1, 1], [0, 1], [0, 1]])
    assert rows.tolist() == [[1, 2], [0, 1]]
    assert ratio(rows) == pytest.approx(1 / 3) and ratio([]) == 0
