"""Intervals against drawing images one by one; sums by image."""

import numpy as np
import pytest

from training.evaluation.metrics.intervals import bootstrap_interval, ratio, sum_by_image
from training.evaluation.metrics.matching import f1_score


def test_draws_without_an_object_are_left_out_of_the_interval():
    assert bootstrap_interval([(1, 0, 0), (0, 0, 0)], f1_score) == (1, 1)


def test_bootstrap_interval_holds_the_estimate_and_narrows():
    generator = np.random.default_rng(0)
    few, many = (np.column_stack([generator.random(n) < 0.7, np.ones(n)]) for n in (40, 4000))
    low, high = bootstrap_interval(few, ratio)
    narrow = bootstrap_interval(many, ratio)
    assert low < ratio(few) < high
    assert narrow[1] - narrow[0] < (high - low) / 4
    assert bootstrap_interval(few, ratio) == (low, high)


def test_questions_are_added_up_by_image():
    rows = sum_by_image(["b", "a", "b"], [[1, 1], [0, 1], [0, 1]])
    assert rows.tolist() == [[1, 2], [0, 1]]
    assert ratio(rows) == pytest.approx(1 / 3) and ratio([]) == 0


def test_an_interval_is_that_of_images_drawn_one_by_one():
    """The multinomial short cut against the definition, on rows that repeat and rows that do not."""
    generator = np.random.default_rng(1)
    for rows in (generator.integers(0, 3, (60, 3)), generator.random((60, 3))):
        drawn = [f1_score(rows[generator.integers(0, 60, 60)]) for _ in range(4000)]
        expected = np.percentile(drawn, [2.5, 97.5])
        assert bootstrap_interval(rows, f1_score) == pytest.approx(tuple(expected), abs=0.02)


@pytest.mark.nightly
def test_a_million_images_take_no_time_and_no_memory():
    rows = np.column_stack([np.arange(1_000_000) % 4 < 3, np.ones(1_000_000)])
    low, high = bootstrap_interval(rows, ratio)
    assert 0.7485 < low < 0.75 < high < 0.7515
