import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrs.release.json_lines import NoArray, read_rows

BLANKS = st.text(alphabet=" \t\r\n", max_size=3)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def formatted(draw, value) -> str:
    """JSON text of a value with arbitrary blanks and escapes."""

    def blank() -> str:
        return draw(BLANKS)

    if isinstance(value, list):
        inside = ",".join(blank() + draw(formatted(item)) + blank() for item in value)
        return f"[{inside or blank()}]"
    if isinstance(value, dict):
        items = (f"{blank()}{json.dumps(key)}{blank()}:{blank()}{draw(formatted(item))}" for key, item in value.items())
        return "{" + (",".join(items) or blank()) + "}"
    return json.dumps(value, ensure_ascii=draw(st.booleans()))


@st.composite
def array_files(draw) -> tuple[bytes, list]:
    value = draw(st.lists(VALUES, max_size=5))
    text = draw(BLANKS) + draw(formatted(value)) + draw(BLANKS)
    return (b"\xef\xbb\xbf" if draw(st.booleans()) else b"") + text.encode("utf-8", "surrogatepass"), value


def rows_of(data: bytes, **options):
    return list(read_rows(io.BytesIO(data), **options))


@settings(max_examples=300, deadline=None)
@given(array_files(), st.integers(1, 40))
def test_any_formatting_joins_to_the_same_bytes(file, chunk):
    data, value = file
    rows = rows_of(data, chunk=chunk)
    assert b"".join(row.before + (row.raw or b"") for row in rows) == data
    assert rows[-1].raw is None and all(row.raw is not None for row in rows[:-1])
    assert [json.loads(row.raw) for row in rows[:-1]] == value


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet='[]{},:"\\ \n1a', max_size=24) | st.binary(max_size=24), st.integers(1, 30))
def test_any_bytes_are_rows_or_no_array(data, chunk):
    data = data.encode() if isinstance(data, str) else data
    try:
        rows = rows_of(data, chunk=chunk)
    except NoArray:
        return
    assert b"".join(row.before + (row.raw or b"") for row in rows) == data


def test_a_row_that_is_no_json_keeps_its_bytes():
    rows = rows_of(b'[{"a": nan}, {"b" 1 2}, "\xff"]\n')
    assert [row.raw for row in rows] == [b'{"a": nan}', b'{"b" 1 2}', b'"\xff"', None]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf \n", "empty"),
        (b'{"a": []}', "starts with"),
        (b"[1, 2", "ends inside"),
        (b'[1, "2]', "ends inside"),
        (b"[1,, 2]", "nothing between"),
        (b"[1, ]", "nothing between"),
        (b"[,]", "nothing between"),
        (b"[1}]", "unbalanced"),
        (b"[1] [2]", "follows the array"),
    ],
)
def test_what_is_no_array_is_said(data, words):
    with pytest.raises(NoArray, match=words):
        rows_of(data)


def test_a_row_beyond_the_limit_is_refused():
    with pytest.raises(NoArray, match="more than 100 bytes"):
        rows_of(b'["' + b"x" * 1000 + b'"]', max_row_bytes=100, chunk=64)
    # One that is found whole in what was read at once, too.
    with pytest.raises(NoArray, match="a row of 151 bytes"):
        rows_of(b'[1,"' + b"x" * 149 + b'"]', max_row_bytes=100, chunk=1000)
    with pytest.raises(NoArray, match="blanks"):
        rows_of(b"[1]" + b" " * 1000, max_row_bytes=100, chunk=64)
