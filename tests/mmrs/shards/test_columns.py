"""Columns made of buffers against pyarrow's own, and without pandas."""

import io
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrs.shards.columns import column
from mmrs.shards.index import INDEX_SCHEMA, write_index

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
VALUES = {
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.string(): TEXT,
    pa.binary(4): st.binary(min_size=4, max_size=4),
    pa.list_(pa.string()): st.lists(TEXT, max_size=3),
    pa.list_(pa.int32()): st.lists(st.integers(0, 100), max_size=3),
}
INDEX_ROWS = st.fixed_dictionaries({f.name: VALUES.get(f.type, st.just(b"x" * 64)) for f in INDEX_SCHEMA})


@pytest.mark.parametrize("kind", VALUES, ids=str)
@settings(deadline=None)
@given(data=st.data())
def test_equal_to_pyarrow_s_own(kind, data):
    values = data.draw(st.lists(st.none() | VALUES[kind], max_size=20))
    made = column(values, kind)
    made.validate(full=True)
    assert made.equals(pa.array(values, kind)) and made.null_count == values.count(None)
    assert made.to_pylist() == values


@settings(deadline=None)
@given(st.lists(INDEX_ROWS, max_size=6))
def test_the_index_has_the_bytes_that_pyarrow_would_write(rows):
    ours, theirs = io.BytesIO(), io.BytesIO()
    write_index(ours, rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA), theirs, compression="zstd", store_schema=True)
    assert ours.getvalue() == theirs.getvalue()


@pytest.mark.parametrize(("values", "kind"), [([b"abc"], pa.binary(4)), ([1.5], pa.float64())])
def test_what_does_not_fit_is_refused(values, kind):
    with pytest.raises(ValueError, match="column"):
        column(values, kind)


def test_pyarrow_s_own_columns_still_import_pandas():
    """The reason for ours. Where this fails, `pyarrow.array` will do and `mmrs.shards.columns` goes."""
    pytest.importorskip("pandas")
    script = (
        "import sys, pyarrow; assert 'pandas' not in sys.modules; pyarrow.array([1]); print('pandas' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown == "True\n"


def test_writing_an_index_does_not_import_pandas():
    script = (
        "import io, sys; from mmrs.shards.index import INDEX_SCHEMA, write_index\n"
        "empty = {'string': 'x', 'int32': 1, 'int64': 1, 'list<element: string>': [], 'list<element: int32>': []}\n"
        "row = {field.name: empty.get(str(field.type).replace('item', 'element')) for field in INDEX_SCHEMA}\n"
        "write_index(io.BytesIO(), [row]); sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
