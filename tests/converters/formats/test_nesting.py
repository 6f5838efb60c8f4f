"""Values within values, thousands deep: refused or read, and never the end of the program."""

import pytest

from converters.formats.coco import parse_coco
from converters.formats.llava import parse_llava
from converters.formats.shared_file import read_shared
from converters.formats.text import shown
from converters.formats.xmltree import parse_tree
from mmrs.errors import BadItem, UserError


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("depth", [3000, 100_000])
def test_nesting_is_refused_or_read(depth):
    for parse in (parse_llava, parse_coco):
        with pytest.raises(BadItem, match="not JSON"):
            parse(nested(depth).encode(), "a.json")
    for inner in ("<a>" * depth + "</a>" * depth, "<!-- <o> -->" + "<o>" * depth + "</o>" * depth):
        root, _ = parse_tree(f"<annotation>{inner}</annotation>", "a.xml", "annotation", "o")
        assert root.tag == "annotation"


@pytest.mark.parametrize("key", ["id", "image", "conversations"])
def test_a_deep_value_in_a_row_costs_that_row(key):
    rows = {"id": '"1"', "image": '"a.jpg"', "conversations": "[]"} | {key: nested(500)}
    written = ", ".join(f'"{name}": {value}' for name, value in rows.items())
    assert len(parse_llava(f"[{{{written}}}]".encode(), "a.json").problems) == 1


def test_what_is_too_deep_to_be_shown_is_named():
    value: list = []
    for _ in range(5000):
        value = [value]
    assert shown(value) == "a list of hundreds of levels"

    def read(path):
        return repr(value)

    with pytest.raises(UserError, match=r"nested too deeply\. A whole split depends on this file"):
        read_shared("coco", "DIR", "a.json", read)
