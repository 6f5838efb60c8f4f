"""A text loses its image marks, and no word is glued to another; all readers of such texts agree."""

import json

import pytest

from converters.formats.llava import parse_llava
from mmrs.instructions.image_mark import without_image_marks
from mmrs.release.content import parse_row

TEXTS = {
    "How many ships?": "How many ships?",
    "  How many\n ships? ": "  How many\n ships? ",
    "<image>\nHow many ships?": "How many ships?",
    "How many ships?\n<image>": "How many ships?",
    "<image>\n<image>\nHow many ships?": "How many ships?",
    "Look at <image> and count.": "Look at and count.",
    "Look at<image>and count.": "Look at and count.",
    "Look at <image>\n<image> and <image>count.\n": "Look at and count.\n",
    "And cars in <image>?": "And cars in ?",
}


@pytest.mark.parametrize(("text", "expected"), TEXTS.items())
def test_marks_leave_one_blank_and_nothing_at_the_ends(text, expected):
    assert without_image_marks(text) == expected


def test_a_text_of_marks_alone_is_empty():
    assert without_image_marks(" <image>\n<image> ") == ""


@pytest.mark.parametrize(("text", "expected"), TEXTS.items())
def test_converter_and_release_take_every_mark_of_every_turn_off(text, expected):
    values = [text, "Two. <image>", text, "None."]
    turns = [{"from": ("human", "gpt")[place % 2], "value": value} for place, value in enumerate(values)]
    row = {"id": "s0", "image": "a.jpg", "conversations": turns}
    (image,) = parse_llava(json.dumps([row]).encode(), "x.json").images
    assert image.conversations == (((expected, "Two."), (expected, "None.")),)
    pairs = parse_row(json.dumps({"image": "a.jpg", "conversations": turns}).encode()).pairs
    assert [(pair.prompt, pair.answer) for pair in pairs] == [(expected, "Two."), (expected, "None.")]
