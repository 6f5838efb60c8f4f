"""Detections are told from left to right, in the image as the model sees it, whatever the data set's order was."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mmrs.geometry import SquareFrame
from mmrs.instructions.dialects import DIALECTS
from training.config import AugmentConfig, DataConfig
from training.data.box_order import left_to_right, ordered_turns

FRAME = SquareFrame(200, 200)
BOXES = st.lists(st.tuples(*[st.integers(0, 150)] * 2, *[st.integers(1, 50)] * 2), min_size=1, max_size=6)


@given(boxes=BOXES, name=st.sampled_from(sorted(DIALECTS)))
def test_the_boxes_of_a_group_are_the_same_and_sorted(boxes, name):
    dialect = DIALECTS[name]
    written = dialect.format_hbb([(x, y, x + width, y + height) for x, y, width, height in boxes], FRAME)
    text = f"There are <p>two cars</p>{written} and <p>one ship</p>{written} in the image."
    ordered = left_to_right(text)
    assert len(ordered) == len(text) and ordered.count(written[:1]) == 2
    read = [dialect.parse(group, FRAME).hbb for group in re.findall(r"\[([^\]]*)\]", ordered)]
    for found in read:
        assert sorted(map(tuple, found)) == sorted(map(tuple, dialect.parse(written[1:-1], FRAME).hbb))
        assert (np.diff(found[:, 0]) >= 0).all()
    assert left_to_right(ordered) == ordered


@pytest.mark.parametrize("text", ["[0.2,0.1;0.1", "[a;b]", "[0.3,0.1,0.4,0.2;0.1,?,0.2,0.3]", "[]", "no boxes; here"])
def test_what_is_no_list_of_numbers_stays(text):
    assert left_to_right(text) == text


def test_only_answers_of_detections_are_sorted():
    turns = [("human", "Compare [0.5,0.1;0.1,0.2]."), ("gpt", "[0.5,0.1;0.1,0.2]")]
    assert ordered_turns("region-captioning", turns) == turns
    assert ordered_turns("detection-hbb", turns) == [turns[0], ("gpt", "[0.1,0.2;0.5,0.1]")]


def test_tars_of_others_have_no_tasks():
    with pytest.raises(ValidationError, match=r"data\.box_order"):
        DataConfig(webdataset=("a.tar",), box_order="left-to-right")
    assert DataConfig(folders=("a",), augment=AugmentConfig()).box_order == "stored"
