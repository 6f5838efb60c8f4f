"""Grounding: hand cases, a brute-force raster, failures in the denominator, and the legacy rule's fault."""

import numpy as np
import pytest

from tests.support.questions import answer, ask, make_object, make_record, protocol
from training.evaluation.scores import describe_rows, failures_of, score
from training.evaluation.tasks import find_task

TASK = find_task("visual-grounding")
BOXES = [(100, 100, 300, 300), (500, 500, 700, 900)]


def one_record(size=(1000, 1000)):
    objects = [make_object("ship", box) for box in BOXES]
    return make_record("a", objects, size, [("the ship on the left", 0), ("the long ship", 1)])


@pytest.fixture
def questions():
    return ask("visual-grounding", [one_record()])


def v1(pairs):
    return protocol("visual-grounding", "grounding/v1").score(pairs)


def test_it_is_asked_once_an_expression_and_the_reference_is_right(questions):
    assert [question.truth.text for question in questions] == ["the ship on the left", "the long ship"]
    scores = v1(answer(questions, map(TASK.reference, questions)))
    assert (scores.value, scores.details["pr@0.9"]) == (1, 1)
    assert scores.details["mean_iou"] == pytest.approx(1) and scores.details["cumulative_iou"] == pytest.approx(1)


@pytest.mark.parametrize("size", [(1000, 1000), (1000, 400), (300, 1000)])
def test_overlaps_are_those_of_pixels(size):
    """Counting pixels, on boxes that the dialect writes exactly."""
    generator = np.random.default_rng(sum(size))
    for _ in range(30):
        target, said = (np.sort(generator.integers(0, 30, (2, 2)) * 10, axis=0) for _ in range(2))
        if (target[0] == target[1]).any() or (said[0] == said[1]).any():
            continue
        record = make_record("a", [make_object("ship", target.reshape(4))], size, [("it", 0)])
        (question,) = ask("visual-grounding", [record])
        text = question.form.dialect.format_hbb([said.reshape(4)], question.frame)
        first, second = np.zeros((2, 300, 300), bool)
        first[target[0, 1] : target[1, 1], target[0, 0] : target[1, 0]] = True
        second[said[0, 1] : said[1, 1], said[0, 0] : said[1, 0]] = True
        expected = (first & second).sum() / (first | second).sum()
        assert v1(answer([question], [text])).details["mean_iou"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        ("", ["empty"]),
        ("I see no ship.", ["no_box"]),
        ("[0.1,0.2,0.3]", ["malformed_box"]),
        ("[0.300,0.300,0.100,0.100]", ["malformed_box"]),
        ("[nan,0.1,0.3,0.3]", ["malformed_box"]),
        ("The 4 ships of 1998 at 12, 30", ["no_box"]),
    ],
)
def test_what_cannot_be_read_has_no_overlap_and_stays_in_the_denominator(questions, text, reasons):
    pairs = answer(questions, [text, TASK.reference(questions[1])])
    scores = v1(pairs)
    assert failures_of(TASK, pairs[0]) == reasons and failures_of(TASK, pairs[1]) == []
    assert (scores.value, scores.details["mean_iou"]) == (0.5, pytest.approx(0.5))
    # The failed answer adds its target's area to the union: 200 x 200 of 200 x 200 + 200 x 400.
    assert scores.details["cumulative_iou"] == pytest.approx(2 / 3)


def test_of_several_boxes_the_first_counts_and_it_is_said(questions):
    right, wrong = "0.100,0.100,0.300,0.300", "0.800,0.100,0.900,0.300"
    texts = [f"[{right};{wrong}]", "[0.500,0.500,0.700,0.900]"]
    assert v1(answer(questions, texts)).value == 1
    assert failures_of(TASK, answer(questions, texts)[0]) == ["several_boxes"]
    assert v1(answer(questions, [f"[{wrong}] or [{right}]", texts[1]])).value == 0.5


@pytest.mark.parametrize(
    "text", ["0.100,0.100,0.300,0.300", "(0.100,0.100,0.300,0.300)", "It is at [0.1,0.1,0.3,0.3]."]
)
def test_brackets_may_be_missing_around_a_bare_box(questions, text):
    assert v1(answer(questions[:1], [text])).value == 1


def test_the_legacy_rule_counts_boxes_that_do_not_touch_and_warns(questions):
    texts = ["[0.600,0.600,0.800,0.800]"] * 2
    (legacy,) = score(answer(questions[:1], texts[:1]), ("grounding/plus1_unit",))
    (ours,) = score(answer(questions[:1], texts[:1]), ("grounding/v1",))
    # Sides of 0.2 become 1.2; the boxes 0.5 apart share 0.7 on each axis.
    assert legacy.details["mean_iou"] == pytest.approx(0.7**2 / (2 * 1.2**2 - 0.7**2))
    assert (ours.value, ours.details["mean_iou"], ours.warning) == (0, 0, "")
    assert "boxes that do not touch count as found" in describe_rows([legacy, ours])


def test_the_constant_row_is_the_median_box(questions):
    (row,) = score(answer(questions, map(TASK.reference, questions)))
    assert row.constant_answers == {"[0.300,0.300,0.500,0.600]": 2} and row.constant_value == 0
