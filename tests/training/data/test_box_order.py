"""Detections are told from left to right or row by row, in the image as turned, whatever the data set's order was."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mmrs.geometry import SquareFrame
from mmrs.instructions.dialects import DIALECTS
from training.config import AugmentConfig, DataConfig
from training.data.box_order import by_rows, left_to_right, ordered_turns

FRAME = SquareFrame(200, 200)
BOXES = st.lists(st.tuples(*[st.integers(0, 150)] * 2, *[st.integers(1, 50)] * 2), min_size=1, max_size=6)


def sorted_and_read(boxes, dialect, order):
    """The boxes of two groups of an answer after sorting, each group once."""
    written = dialect.format_hbb([(x, y, x + width, y + height) for x, y, width, height in boxes], FRAME)
    turns = [("human", "Find."), ("gpt", f"There are <p>two cars</p>{written} and <p>one ship</p>{written} in it.")]
    ordered = ordered_turns("detection-hbb", turns, order)
    assert len(ordered[1][1]) == len(turns[1][1]) and ordered[1][1].count(written[:1]) == 2
    assert ordered_turns("detection-hbb", ordered, order) == ordered
    for group in re.findall(r"\[([^\]]*)\]", ordered[1][1]):
        found = dialect.parse(group, FRAME).hbb
        assert sorted(map(tuple, found)) == sorted(map(tuple, dialect.parse(written[1:-1], FRAME).hbb))
        yield found


@given(boxes=BOXES, name=st.sampled_from(sorted(DIALECTS)))
def test_the_boxes_of_a_group_are_the_same_and_from_left_to_right(boxes, name):
    for found in sorted_and_read(boxes, DIALECTS[name], left_to_right):
        assert (np.diff(found[:, 0]) >= 0).all()


@given(boxes=BOXES, name=st.sampled_from(sorted(DIALECTS)), cells=st.integers(1, 9))
def test_the_boxes_of_a_group_are_the_same_and_in_the_order_of_their_visual_tokens(boxes, name, cells):
    for found in sorted_and_read(boxes, DIALECTS[name], by_rows(DIALECTS[name], cells)):
        # Pixels of a frame of 200: what its parts of a thousand lose is far below a cell, but for what lies on a line.
        # Those without an area as they are written are not among them.
        middles_N2 = found.reshape(-1, 2, 2).mean(axis=1) / 200 * cells
        if (np.abs(middles_N2 - middles_N2.round()) < 1e-6).any():
            continue
        places = [int(row) * cells + int(column) for column, row in middles_N2.clip(0, cells - 1e-9)]
        assert places == sorted(places)


def test_rows_by_hand():
    """Four cells a side: rows 0, 0, 1, 3; of two in one row the left one is first, though its number is larger."""
    order = by_rows(DIALECTS["mmrs1m"], 4)
    first, second = "0.10,0.10,0.20,0.30", "0.80,0.00,0.90,0.10"
    third, fourth = "0.00,0.40,0.10,0.50", "0.02,0.90,0.04,0.98"
    assert order(f"{fourth};{second};{third};{first}") == f"{first};{second};{third};{fourth}"


def test_what_is_no_box_comes_last():
    order = by_rows(DIALECTS["mmrs1m"], 4)
    assert order("0.10,0.10,0.10,0.10;?;0.90,0.90,0.95,0.95;0.00,0.00,0.10,0.10") == (
        "0.00,0.00,0.10,0.10;0.90,0.90,0.95,0.95;0.10,0.10,0.10,0.10;?"
    )


@pytest.mark.parametrize("order", [left_to_right, by_rows(DIALECTS["mmrs1m"], 4)])
@pytest.mark.parametrize("text", ["0.2,0.1;0.1,", "a;b", "0.1,0.1,0.2,0.3;0.3,?,0.4,0.2", "", "no boxes; here"])
def test_what_is_no_list_of_boxes_stays(text, order):
    assert order(text) == text


def test_only_answers_of_detections_are_sorted():
    turns = [("human", "Compare [0.5,0.1;0.1,0.2]."), ("gpt", "[0.5,0.1;0.1,0.2]")]
    assert ordered_turns("region-captioning", turns, left_to_right) == turns
    assert ordered_turns("detection-hbb", turns, left_to_right) == [turns[0], ("gpt", "[0.1,0.2;0.5,0.1]")]


def test_tars_of_others_have_no_tasks():
    with pytest.raises(ValidationError, match=r"data\.box_order"):
        DataConfig(webdataset=("a.tar",), box_order="left-to-right")
    assert DataConfig(folders=("a",), augment=AugmentConfig()).box_order == "stored"
