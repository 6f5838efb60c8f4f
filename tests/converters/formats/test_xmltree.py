"""The fast parser against the guarded one: the same trees and lines, and no document type ever gets to it."""

import random
from xml.etree.ElementTree import ParseError, tostring

import pytest
from defusedxml.common import DefusedXmlException

from converters.formats import xmltree
from converters.formats.xmltree import parse_tree
from mmrs.errors import BadItem

TAGS = [
    "<object>",
    "</object>",
    "<object/>",
    "<!-- <object> -->",
    "<![CDATA[<object>]]>",
    "<objects>",
    "<?x <object> ?>",
]
PIECES = [*TAGS, "", "&lt;", "&x;", "<", ">", "\n", "\r\n", "<!DOCTYPE a>", "影", "\0", "]]>"]


def outcome(parse, *arguments):
    """Tree and lines of the nodes `object`, or the kind of error."""
    try:
        found = parse(*arguments)
    except (ParseError, ValueError) as error:
        return type(error).__name__
    except DefusedXmlException:
        return "refused"
    if found is None:
        return None
    root, lines = found
    return tostring(root), [lines[node] for node in root.iter("object")]


def damaged(text, chance):
    for _ in range(chance.randint(0, 3)):
        start = chance.randint(0, len(text))
        text = text[:start] + chance.choice(PIECES) + text[start + chance.randint(0, 6) :]
    return text


@pytest.mark.parametrize(
    ("name", "pattern"), [("hit-uav", "normal_xml/**/*.xml"), ("dior", "**/*.xml"), ("fair1m", "**/*.xml")]
)
def test_both_parsers_agree_on_whole_and_damaged_files(fake, name, pattern):
    chance = random.Random(name)
    texts = [path.read_text() for path in sorted(fake(name).glob(pattern))][:12]
    assert len(texts) >= 6
    compared = 0
    for text in texts + [damaged(chance.choice(texts), chance) for _ in range(400)]:
        fast = outcome(xmltree._fast, text, "object")
        if fast is None:
            continue
        compared += 1
        assert fast == outcome(xmltree._guarded, text)
    assert compared > 200


def test_lines_of_nodes_behind_comments_that_hold_tags():
    text = "<a>\n<!-- <object> -->\n<object/>\n<b>\n<object>\n</object></b></a>"
    assert xmltree._fast(text, "object") is None
    root, lines = parse_tree(text, "x", "a", "object")
    assert [lines[node] for node in root.iter("object")] == [3, 5]


@pytest.mark.parametrize(
    "text",
    [
        "<!DOCTYPE a><a/>",
        "<?xml version='1.0'?>\n<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
        "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>",
    ],
)
def test_a_document_type_never_reaches_the_fast_parser(text, monkeypatch):
    assert xmltree._fast(text, "object") is None
    monkeypatch.setattr(xmltree, "XMLParser", lambda: pytest.fail("the fast parser was asked"))
    with pytest.raises(BadItem, match="refused"):
        parse_tree(text, "x", "a", "object")


@pytest.mark.parametrize(
    "text", ["<a>&x;</a>", "<!doctype a [<!ENTITY b 'c'>]><a>&b;</a>", "<!ENTITY b 'c'><a>&b;</a>"]
)
def test_entities_without_a_document_type_are_no_xml(text):
    with pytest.raises(BadItem, match="not XML"):
        parse_tree(text, "x", "a", "object")


def test_a_declared_encoding_changes_nothing():
    """The text is decoded already; a declaration of another encoding must not have it read again."""
    root, _ = parse_tree("<?xml version='1.0' encoding='utf-16'?><a>影</a>", "x", "a", "object")
    assert root.text == "影"
