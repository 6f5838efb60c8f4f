import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.formats.class_map import parse_class_map
from mmrs.errors import BadItem


def test_names_numbers_and_regions_that_count_as_nothing():
    known = parse_class_map("\ufeff# mine\r\n0: ship\r\n船: boat \r\nblur:\r\n".encode(), "x")
    assert known.classes == {"0": "ship", "船": "boat"} and known.ignored == ("blur",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "content is None"),
        ("- ship", "lines of the form"),
        ("ship: [a]", "category of 'ship'"),
        ("~: ship", "label None is no name or number; put it in quotes"),
        ("ship: a\nship: b", "key 'ship' is written twice"),
        ("ship:", "no label has a category"),
        ("a: b: c", "not YAML"),
        ("&a [*a]: 1", "not YAML"),
    ],
)
def test_bad_maps(text, words):
    with pytest.raises(BadItem, match=words):
        parse_class_map(text.encode(), "x")


@pytest.mark.parametrize("word", ["on", "Off", "yes", "n", "0737", "0x1F", "12:30", "2024-01-05", "1.0", "1e3", ".inf"])
def test_words_are_names_as_they_are_written(word):
    known = parse_class_map(f"{word}: ship\nship: {word}\n".encode(), "x")
    assert known.classes == {word: "ship", "ship": word}


@given(st.binary(max_size=60) | st.text(max_size=40).map(str.encode))
def test_any_bytes(data):
    with contextlib.suppress(BadItem):
        assert parse_class_map(data, "x").classes
