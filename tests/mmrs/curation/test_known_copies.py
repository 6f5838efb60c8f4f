"""The alias table finds one picture under the names of several sources."""

import pytest

from mmrs.curation.known_copies import AliasTable, load_aliases
from mmrs.errors import UserError

SAME = [
    (("dior", "00012"), ("dior-rsvg", "00012")),
    (("resisc45", "airplane_001"), ("nwpu-captions", "airplane_001")),
    (("rsicd", "airport_1"), ("rsivqa", "rsicd-airport_1")),
    (("rsicd", "00007"), ("rsivqa", "rsicd-00007")),
    (("rsicd", "airport_1"), ("aid", "airport_1")),
    (("ucm-captions", "1"), ("ucmerced", "agricultural00")),
    (("ucm-captions", "2100"), ("ucmerced", "tenniscourt99")),
    (("ucm-captions", "1085"), ("ucmerced", "harbor84")),
    (("ucm-captions", "12"), ("rsivqa", "ucm-12")),
    (("sydney-captions", "613"), ("rsivqa", "sydney-613")),
    (("hrrsd", "00001"), ("rsivqa", "hrrsd-00001")),
    (("dota", "P0003"), ("rsivqa", "dota-P0003")),
]
APART = [
    (("sydney-captions", "12"), ("rsivqa", "ucm-12")),
    (("ucm-captions", "12"), ("sydney-captions", "12")),
    (("hrrsd", "00012"), ("dior", "00012")),
    (("rsicd", "00012"), ("dior", "00012")),
    (("ucm-captions", "101"), ("ucmerced", "agricultural00")),
]


@pytest.mark.parametrize(("first", "second"), SAME)
def test_the_same_picture(first, second):
    table = load_aliases()
    assert table.picture(*first) is not None
    assert table.picture(*first) == table.picture(*second)


@pytest.mark.parametrize(("first", "second"), APART)
def test_different_pictures(first, second):
    table = load_aliases()
    assert table.picture(*first) != table.picture(*second)


def test_strangers_have_no_name():
    table = load_aliases()
    assert table.picture("hit-uav", "0_60_30_0_01660") is None
    assert table.picture("ucmerced", "castle07") is None


def test_all_of_ucm_has_its_own_number():
    table = load_aliases()
    blocks = table.pictures["ucm"].blocks
    names = [table.picture("ucmerced", f"{block}{offset:02d}") for block in blocks.names for offset in range(100)]
    assert names == [f"ucm {number}" for number in range(1, 2101)]


def test_a_broken_table_says_what_is_wrong(tmp_path):
    path = tmp_path / "aliases.yaml"
    path.write_text("pictures: {x: {evidence: seen, names: {a: '(?P<name>.+)', b: '(?P<stem>.+)'}}}")
    with pytest.raises(UserError, match=r"aliases.yaml.*\n.*group name"):
        load_aliases(path)
    path.write_text("pictures: {x: {evidence: seen, names: {a: '(?P<name>.+)', b: '(?P<block>.+)(?P<offset>.)'}}}")
    with pytest.raises(UserError, match="needs `blocks`"):
        load_aliases(path)


def test_an_empty_table_knows_nothing():
    assert AliasTable().picture("dior", "00001") is None
