"""Our tar bytes against Python's tarfile: readable, adjacent, at the offsets that we state."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrs.shards.tar import TarWriter, member_header

names = st.from_regex(r"[A-Za-z0-9_-]{1,90}\.(jpg|json)", fullmatch=True)


@given(st.lists(st.tuples(names, st.binary(max_size=2000)), max_size=8))
def test_tarfile_reads_what_we_write_where_we_say(members):
    buffer = io.BytesIO()
    writer = TarWriter(buffer)
    written = [writer.add(name, data) for name, data in members]
    writer.finish()
    assert len(buffer.getvalue()) == writer.bytes_written
    assert writer.bytes_written % tarfile.RECORDSIZE == 0
    with tarfile.open(fileobj=io.BytesIO(buffer.getvalue())) as archive:
        infos = archive.getmembers()
    assert [(i.name, i.offset_data, i.size) for i in infos] == [(m.name, m.offset, m.size) for m in written]
    for member, (_, data) in zip(written, members, strict=True):
        assert buffer.getvalue()[member.offset : member.offset + member.size] == data


@pytest.mark.parametrize("name", ["a.b.jpg", "a/b.jpg", "../x.jpg", "ä.jpg", "x", ".jpg", "a b.jpg"])
def test_names_that_break_readers_are_refused(name):
    with pytest.raises(ValueError, match="member name"):
        TarWriter(io.BytesIO()).add(name, b"")


@given(names, st.one_of(st.integers(0, 2000), st.integers(0, 8**11 - 1)))
def test_headers_are_those_of_tarfile(name, size):
    info = tarfile.TarInfo(name)
    info.size = size
    assert member_header(name, size) == info.tobuf(format=tarfile.USTAR_FORMAT)


@pytest.mark.parametrize(("name", "size"), [("x" * 97 + ".jpg", 0), ("x.jpg", 8**11)])
def test_what_ustar_cannot_say_is_refused(name, size):
    with pytest.raises(ValueError, match="ustar"):
        member_header(name, size)
