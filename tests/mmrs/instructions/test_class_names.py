"""Names before counts, the longest first; plurals and other spellings of a class."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrs.geometry import SquareFrame
from mmrs.instructions.answers import format_detections, parse_detections
from mmrs.instructions.class_names import class_spellings, classes_of_phrase
from mmrs.instructions.dialects import DIALECTS

FRAME, DIALECT = SquareFrame(100, 100), DIALECTS["mmrs"]
BOX = "[0.100,0.100,0.300,0.300]"
# Names with numbers and number words in them, names that end in other names, and names that are each other's plural.
NASTY = ["LSD 41 LL", "LL", "two seater", "seater", "no 1", "ship", "war ship", "one", "7", "bus", "person", "a b"]


@given(st.lists(st.sampled_from(NASTY), unique=True, min_size=1, max_size=6), st.integers(1, 40))
def test_what_is_written_is_read(chosen, count):
    answer = format_detections([(name, count, BOX) for name in chosen])
    groups = parse_detections(answer, FRAME, NASTY, DIALECT)
    assert [(group.category, group.count) for group in groups] == [(name, count) for name in chosen]


@pytest.mark.parametrize(
    ("phrase", "category"),
    [
        ("two harbours", "harbor"),
        ("one Storage-Tank", "storage tank"),
        ("3 storagetanks", "storage tank"),
        ("two buses", "bus"),
        ("4 people", "person"),
        ("two ferries", "ferry"),
        ("two ferrys", "ferry"),
        ("five aeroplanes", "airplane"),
    ],
)
def test_spellings_of_a_class(phrase, category):
    known = ["harbor", "storage tank", "bus", "person", "ferry", "airplane"]
    (group,) = parse_detections(f"There are {phrase}{BOX}.", FRAME, known, DIALECT)
    assert group.category == category and group.count is not None


@pytest.mark.parametrize("phrase", ["two tennis courts", "two courtyards", "two discourts", "two courts of law"])
def test_a_name_inside_another_is_another(phrase):
    (group,) = parse_detections(phrase + BOX, FRAME, ["court"], DIALECT)
    assert group.category is None


def test_a_spelling_that_two_classes_share_is_neither_but_for_the_one_that_it_names():
    assert classes_of_phrase("ships", ["ship", "ships"]) == [("ships", "")]
    assert classes_of_phrase("harbour", ["harbor", "harbour"]) == [("harbour", "")]
    assert classes_of_phrase("harbours", ["harbor", "harbour"]) == []
    assert class_spellings("golf-course")[0] == "golf course"
