"""Boxes in other models' words: where they are in the text, where they lie in the image, how ours would say them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrs.geometry import SquareFrame, quad_from_hbb
from mmrs.instructions.answers import is_absence, parse_detections
from mmrs.instructions.dialects import dialect
from training.evaluation.translation.answer import FoundBox, say_boxes
from training.evaluation.translation.exact import EXACT, written_dialect
from training.evaluation.translation.frames import ImageSizes, PaddedFractions, PerAxis, SeenPixels
from training.evaluation.translation.syntax import read_braces, read_brackets, read_json

WIDE = ImageSizes(1000, 500, 1008, 504)


def found(reader, text):
    return [(piece.label, piece.numbers) for piece in reader(text)]


@pytest.mark.parametrize(
    ("reader", "text", "boxes"),
    [
        (read_json,
         '```json\n[{"bbox_2d": [1, 2, 3, 4], "label": "ship"}, {"label": "car", "bbox_2d": [5,6,7,8]}]\n```',
         [("ship", (1, 2, 3, 4)), ("car", (5, 6, 7, 8))]),
        (read_json, '[{"bbox_2d": [1, 2, 3, 4], "label": "ship"}, {"bbox_2d": [5, 6',
         [("ship", (1, 2, 3, 4)), ("", (5, 6))]),
        (read_json, '[{"bbox_2d": ["a"], "label": "ship"}]', [("ship", ())]),
        (read_json, "ship [1, 2, 3, 4]", [("ship", (1, 2, 3, 4))]),
        (read_json, "[]", []),
        (read_brackets,
         "<ref>ship</ref><box>[[1, 2, 3, 4], [5, 6, 7, 8]]</box> <ref>car</ref><box>[[9, 9, 10, 10]]</box>",
         [("ship", (1, 2, 3, 4)), ("ship", (5, 6, 7, 8)), ("car", (9, 9, 10, 10))]),
        (read_brackets, "[[1, 2, 3, 4, 90]][[5, 6, 7", [("", (1, 2, 3, 4, 90)), ("", (5, 6, 7))]),
        (read_brackets, "ship: [0.1, .2, 0.30, 1.]\ncar: [x]", [("ship", (0.1, 0.2, 0.3, 1.0)), ("car", ())]),
        (read_braces, "<p>two ships</p> {<1><2><3><4>|<90>}<delim>{<5><6><7><8>|<-3>}",
         [("two ships", (1, 2, 3, 4, 90)), ("two ships", (5, 6, 7, 8, -3))]),
        (read_braces, "{<1><2>", [("", (1, 2))]),
        (read_braces, "nothing here", []),
    ],
)  # fmt: skip
def test_boxes_are_found_with_their_labels(reader, text, boxes):
    assert found(reader, text) == boxes


@given(st.text(alphabet='[]{}<>,.:;"|0123456789 -eabbox_2dlabel\\n', max_size=120))
def test_no_text_breaks_a_reader_and_pieces_lie_in_it(text):
    for reader in (read_json, read_brackets, read_braces):
        pieces = reader(text)
        assert all(0 <= piece.start < piece.end <= len(text) for piece in pieces)
        assert [piece.start for piece in pieces] == sorted(piece.start for piece in pieces)
        assert all(math.isfinite(number) or abs(number) > 1e300 for piece in pieces for number in piece.numbers)


@pytest.mark.parametrize(
    ("frame", "numbers"),
    [
        (PerAxis(1000), [500, 0, 750, 500]),
        (PerAxis(1), [0.5, 0, 0.75, 0.5]),
        (PerAxis(100, angled=True), [50, 0, 75, 50, 0]),
        (SeenPixels(), [504, 0, 756, 252]),
        (PaddedFractions(), [0.5, 0.25, 0.75, 0.5]),
    ],
)
def test_every_frame_knows_the_box_of_the_notes(frame, numbers):
    """One image of 1000 x 500 with a ship at (500, 0)-(750, 250)."""
    quad = frame.to_pixels(numbers, WIDE)
    assert quad == pytest.approx(quad_from_hbb([[500, 0, 750, 250]])[0])
    back = frame.to_numbers(np.array([500, 0, 750, 250]), WIDE)
    assert back == pytest.approx(numbers[:4])
    assert frame.to_pixels(numbers[:3], WIDE) is None and frame.to_pixels([], WIDE) is None


def test_a_positive_angle_turns_counter_clockwise_on_screen_after_scaling():
    """On screen y grows downwards: the right end of a flat box goes up."""
    quad = PerAxis(100, angled=True).to_pixels([40, 40, 60, 50, 30], ImageSizes(200, 100, 200, 100))
    middle = np.array([100, 45])
    right = (np.array([20, 0]) @ np.array([[math.cos(math.pi / 6), -math.sin(math.pi / 6)], [0, 0]])) + middle
    ends = (quad + np.roll(quad, -1, axis=0)) / 2
    assert np.abs(ends - right).sum(axis=1).min() == pytest.approx(0, abs=1e-9) and right[1] < middle[1]
    in_grid = PerAxis(100, angled=True, turn_before_scaling=True)
    square = ImageSizes(300, 300, 300, 300)
    numbers = [40, 40, 60, 50, 30]
    assert in_grid.to_pixels(numbers, square) == pytest.approx(PerAxis(100, angled=True).to_pixels(numbers, square))
    assert not np.allclose(in_grid.to_pixels(numbers, ImageSizes(200, 100, 200, 100)), quad)


BOXES = [FoundBox("ships", quad_from_hbb([[10, 20, 30, 40]])[0]), FoundBox("car", None)]
BOXES += [FoundBox("ships", quad_from_hbb([[50.25, 60, 70, 80.125]])[0]), FoundBox("boat [x]", BOXES[0].quad)]
FRAME = SquareFrame(100, 90)


def test_boxes_are_said_by_label_and_pieces_that_are_none_stay():
    text, order = say_boxes("listed", BOXES, "said", FRAME, written_dialect(dialect("mmrs")))
    groups = parse_detections(text, FRAME, ("ship", "car"), dialect("mmrs"))
    assert [(g.category, len(g.boxes.hbb), g.boxes.malformed) for g in groups] == [
        ("ship", 2, 0), ("car", 0, 1), (None, 1, 0),
    ]  # fmt: skip
    assert groups[0].boxes.hbb == pytest.approx(np.array([[10, 20, 30, 40], [50.25, 60, 70, 80.125]]), abs=1e-3)
    assert order == [0, 2, 1, 3]
    one, places = say_boxes("one", BOXES[:2], "said", FRAME, EXACT)
    assert (one, places) == (f"{EXACT.format_hbb([[10, 20, 30, 40]], FRAME)[:-1]};?]", [0, 1])


@pytest.mark.parametrize("said", ["[]", "```json\n[]\n```", "None.", "There are no ships.", "No objects detected"])
def test_who_says_that_there_is_nothing_is_heard(said):
    assert is_absence(say_boxes("listed", [], said, FRAME, EXACT)[0])


@pytest.mark.parametrize("said", ["", "A harbour [1, 2]", "I cannot help"])
def test_other_words_without_boxes_are_no_absence_and_no_boxes(said):
    text, _ = say_boxes("listed", [], said, FRAME, EXACT)
    assert not is_absence(text) and parse_detections(text, FRAME, ("ship",), EXACT) == []


@given(st.lists(st.floats(-200, 300), min_size=8, max_size=8))
def test_the_exact_dialect_loses_nothing(numbers):
    quads = np.array(numbers).reshape(1, 4, 2)
    parsed = EXACT.parse(EXACT.format_obb(quads, FRAME)[1:-1], FRAME)
    assert len(parsed.sound) == 1
    if parsed.quads is not None and len(parsed.quads):
        assert parsed.quads == pytest.approx(quads, abs=1e-9)


def test_files_keep_six_decimals_where_the_dialect_reads_them():
    fine = written_dialect(dialect("mmrs"))
    box = [[1.2345, 2.3456, 30.4567, 40.5678]]
    assert dialect("mmrs").parse(fine.format_hbb(box, FRAME)[1:-1], FRAME).hbb == pytest.approx(np.array(box), abs=1e-4)
    other = object()
    assert written_dialect(other) is other
