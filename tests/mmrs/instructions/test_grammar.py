"""Whatever is written matches its task's grammar, and whatever matches is read without a malformed box."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrs.geometry import SquareFrame
from mmrs.instructions.answers import format_absence, format_detections, parse_detections
from mmrs.instructions.dialects import DIALECTS
from mmrs.instructions.grammar import answer_pattern

CATEGORIES = ("ship", "storage tank", "A220", "c++")
FRAME = SquareFrame(1000, 800)
COORDINATE = st.floats(0, 800, allow_nan=False)


def boxes(numbers):
    return st.lists(st.lists(COORDINATE, min_size=numbers, max_size=numbers), min_size=1, max_size=15)


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(sorted(DIALECTS)),
    st.lists(st.tuples(st.sampled_from(CATEGORIES), boxes(4)), max_size=4),
)
def test_written_horizontal_answers_match(name, groups):
    dialect = DIALECTS[name]
    texts = [(category, len(found), dialect.format_hbb(np.sort(found), FRAME)) for category, found in groups]
    answer = format_detections(texts)
    assert re.fullmatch(answer_pattern("detection-hbb", CATEGORIES, dialect), answer)
    assert bool(re.fullmatch(answer_pattern("detection-obb", CATEGORIES, dialect), answer)) == (not groups)


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(sorted(DIALECTS)), st.sampled_from(CATEGORIES), boxes(8))
def test_written_oriented_answers_and_grounding_match(name, category, found):
    dialect = DIALECTS[name]
    quads = np.reshape(found, (-1, 4, 2))
    answer = format_detections([(category, len(found), dialect.format_obb(quads, FRAME))])
    assert re.fullmatch(answer_pattern("detection-obb", CATEGORIES, dialect), answer)
    one = dialect.format_hbb(np.sort(quads[:1, :2].reshape(1, 4)), FRAME)
    assert re.fullmatch(answer_pattern("visual-grounding", (), dialect), one)


@settings(deadline=None, max_examples=25)
@given(st.data(), st.sampled_from(sorted(DIALECTS)))
def test_what_matches_is_read_whole(data, name):
    pattern = re.compile(answer_pattern("detection-hbb", CATEGORIES, DIALECTS[name]), re.ASCII)
    answer = data.draw(st.from_regex(pattern, fullmatch=True))
    groups = parse_detections(answer, SquareFrame(1000, 1000), CATEGORIES, DIALECTS[name])
    assert len(groups) == answer.count("<p>")
    assert all(group.category in CATEGORIES and group.count for group in groups)
    read = sum(len(group.boxes.hbb) + group.boxes.malformed for group in groups)
    assert read == answer.count(";") + answer.count("[")


@pytest.mark.parametrize("answer", ["ship", "ships", "", "ship.", "storage  tank"])
def test_a_class_is_one_of_the_names(answer):
    assert bool(re.fullmatch(answer_pattern("classification", CATEGORIES, DIALECTS["mmrs"]), answer)) == (
        answer == "ship"
    )


def test_absence_matches_and_free_text_has_no_grammar():
    for category in ("ship", "object"):
        assert re.fullmatch(answer_pattern("detection-hbb", CATEGORIES, DIALECTS["mmrs"]), format_absence(category))
    for task in ("captioning", "vqa"):
        assert answer_pattern(task, CATEGORIES, DIALECTS["mmrs"]) is None
    with pytest.raises(ValueError, match="needs at least one category"):
        answer_pattern("classification", (), DIALECTS["mmrs"])
