import contextlib
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.formats.llava import parse_llava
from mmrs.errors import BadItem


def sample(*texts: str, **changes) -> dict:
    turns = [{"from": ("human", "gpt")[number % 2], "value": text} for number, text in enumerate(texts)]
    return {"id": "1", "image": "a/b.jpg", "conversations": turns} | changes


def parse(*rows):
    return parse_llava(json.dumps(rows).encode(), "x.json")


def test_samples_of_one_image_are_gathered_and_the_image_mark_is_taken_off():
    found = parse(sample("<image>\nWhere?", "Here.", "Why?", "So."), sample("Who?\n<image>", "You.", id=2))
    (image,) = found.images
    assert (image.name, image.ids, found.problems) == ("a/b.jpg", ("1", "2"), ())
    assert image.conversations == ((("Where?", "Here."), ("Why?", "So.")), (("Who?", "You."),))


def test_system_turn_other_speaker_words_and_one_image_in_a_list():
    row = sample("Q", "A", image=["a.jpg"])
    row["conversations"] = [{"from": "system", "value": "be brief"}, *row["conversations"]]
    row["conversations"][1]["from"], row["conversations"][2]["from"] = "user", "assistant"
    assert parse(row).images[0].conversations == ((("Q", "A"),),)


def test_ids_are_no_keys_and_only_a_word_for_word_repetition_is_one():
    rows = [sample("Q", "A"), sample("Why?", "So."), sample("Q", "A"), sample("Q", "A", image="c.jpg")]
    found = parse(*rows)
    assert [(image.name, image.ids, len(image.conversations)) for image in found.images] == [
        ("a/b.jpg", ("1",), 2),
        ("c.jpg", ("1",), 1),
    ]
    assert found.problems == () and found.repeats == 1


def test_byte_order_mark():
    assert parse_llava(b"\xef\xbb\xbf[]", "x").images == ()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (1, r"\[1\] is a int"),
        (sample("Q", "A", id="2", image=None), "one file name is expected"),
        (sample("Q", "A", id="2", image=["a", 2]), "one file name is expected"),
        (sample("<image> Q", "A", id="2", image=["a", "b"]), "2 images and 1 marks"),
        (sample("Q", id="2"), "has 1 turns"),
        (sample(id="2"), "no list `conversations`"),
        (sample("Q", "", id="2"), "turn without text"),
        (sample("<image>", "A", id="2"), "turn without text"),
        (sample("Q", "A", id="2", conversations=[{"from": "gpt", "value": "A"}]), "turn 0.*from human"),
    ],
)
def test_samples_left_out(row, words):
    """The image stays with its other sample; where there is none it is lost, and counted."""
    found = parse(sample("Q", "A", id="0"), row)
    assert len(found.images) == 1
    (reason,) = [reason for _, reason in (*found.problems, *found.details)]
    assert re.search(words, reason)
    is_named = isinstance(row, dict) and isinstance(row["image"], str)
    assert len(found.details) == is_named and len(parse(row).problems) == 1


def test_no_list():
    with pytest.raises(BadItem, match="top level is a dict"):
        parse_llava(b"{}", "x")


VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=4) | st.sampled_from(["human", "gpt"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "image", "conversations", "from", "value"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_json_of_any_shape(value):
    with contextlib.suppress(BadItem):
        for image in parse_llava(json.dumps(value).encode(), "x").images:
            assert image.name and all(turn for one in image.conversations for pair in one for turn in pair)
