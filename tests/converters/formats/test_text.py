import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.formats.shared_file import read_shared
from converters.formats.text import decode, finite, integer, parse_json, read_bytes
from mmrs.errors import BadItem, UserError


def test_not_utf8_names_offset_and_line():
    with pytest.raises(BadItem, match="byte 0xe9 at offset 6") as caught:
        decode(b"gsd:1\n\xe9", "x.txt")
    assert (caught.value.path, caught.value.line) == ("x.txt", 2)


def test_byte_order_mark_is_dropped():
    assert decode(b"\xef\xbb\xbfgsd:1", "x") == "gsd:1"


@pytest.mark.parametrize("data", [b"", b"  \n", b"{", b"[NaN]", b"[Infinity]", b'{"a": 1} x', b"[" * 5000])
def test_not_json(data):
    with pytest.raises(BadItem):
        parse_json(data, "x.json")


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_json_has_no_number_for_is_mended_and_not_fetched_again(word, tmp_path):
    (tmp_path / "x.json").write_text(f'{{"a": 1,\n "b": {word}}}')
    with pytest.raises(UserError, match=rf"x.json \(line 2\): {word} is no value of JSON.*: write null or a number"):
        read_shared("dota", tmp_path, tmp_path / "x.json", lambda path: parse_json(path.read_bytes(), str(path)))


def test_json_error_names_the_line():
    with pytest.raises(BadItem) as caught:
        parse_json(b'{"a": 1,\n "b": }', "x.json")
    assert caught.value.line == 2


@pytest.mark.parametrize(
    "value",
    ["nan", "inf", "-inf", "1_0", "", "1,5", "0x10", None, True, [], math.nan, math.inf, 1e300, 10**400, "1e999", "١"],
)
def test_what_is_no_finite_number(value):
    with pytest.raises(BadItem):
        finite(value, "xmin", "x")


@given(st.floats(-1e6, 1e6))
def test_numbers_survive_as_number_and_as_text(value):
    assert finite(value, "x", "") == value == finite(repr(value), "x", "")


def test_integers():
    assert integer("640", "width", "") == 640 == integer(640.0, "width", "")
    with pytest.raises(BadItem, match="whole number"):
        integer("640.5", "width", "")


def test_absent_file(tmp_path):
    with pytest.raises(BadItem, match="cannot be read"):
        read_bytes(tmp_path / "absent")
