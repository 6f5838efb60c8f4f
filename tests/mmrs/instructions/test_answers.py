"""The answer grammar: what is written is read back; the release's and the paper's examples are read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrs.geometry import SquareFrame
from mmrs.instructions.answers import count_word, format_absence, format_detections, parse_detections
from mmrs.instructions.dialects import DIALECTS

FRAME = SquareFrame(1000, 1000)
CATEGORIES = ("car", "small vehicle", "tennis court", "ship", "bus")


@given(
    st.lists(
        st.tuples(st.sampled_from(CATEGORIES), st.integers(1, 30)), min_size=1, max_size=4, unique_by=lambda g: g[0]
    )
)
def test_counts_categories_and_boxes_survive(groups):
    written = []
    for index, (category, count) in enumerate(groups):
        boxes = [[10 * n, 20 * index, 10 * n + 9, 20 * index + 15] for n in range(count)]
        written.append((category, count, DIALECTS["mmrs"].format_hbb(boxes, FRAME)))
    parsed = parse_detections(format_detections(written), FRAME, CATEGORIES, DIALECTS["mmrs"])
    assert [(group.category, group.count, len(group.boxes.hbb)) for group in parsed] == [
        (category, count, count) for category, count in groups
    ]
    assert not any(group.boxes.malformed for group in parsed)


@pytest.mark.parametrize(
    ("text", "category", "count", "boxes"),
    [
        ("There are <p>13 ships</p>[0.75,0.60,0.76,0.71;0.10,0.10,0.20,0.20] in the image.", "ship", 13, 2),
        ("There are eight tennis courts [0.12,0.50,0.16,0.59;0.19,0.65,0.23,0.74] in the image.", "tennis court", 8, 2),
        ("There is <p>one ship</p>[0.50,0.25,0.75,0.50] in the image.", "ship", 1, 1),
        ("There are <p>two Cars</p>[0.1,0.1,0.2,0.2", "car", 2, 1),
        ("<p>three submarines</p>[0.1,0.1,0.2,0.2]", None, 3, 1),
    ],
)
def test_known_forms(text, category, count, boxes):
    (group,) = parse_detections(text, FRAME, CATEGORIES, DIALECTS["mmrs"])
    assert (group.category, group.count, len(group.boxes.hbb)) == (category, count, boxes)


def test_several_classes_and_a_word_that_looks_like_a_count():
    text = (
        "There are <p>two buss</p>[0.1,0.1,0.2,0.2;0.3,0.3,0.4,0.4], <p>one car</p>[0.5,0.5,0.6,0.6] "
        "and <p>no ships</p>[] in the image."
    )
    parsed = parse_detections(text, FRAME, CATEGORIES, DIALECTS["mmrs"])
    assert [(group.category, group.count) for group in parsed] == [("bus", 2), ("car", 1), ("ship", 0)]


@pytest.mark.parametrize("text", [format_absence("object"), format_absence("car"), "", "[", "]][[", "no brackets"])
def test_an_absence_has_no_boxes(text):
    assert sum(len(group.boxes.hbb) for group in parse_detections(text, FRAME, CATEGORIES, DIALECTS["mmrs"])) == 0


@given(st.text(max_size=200))
def test_parsing_never_raises(text):
    for group in parse_detections(text, FRAME, CATEGORIES, DIALECTS["mmrs"]):
        assert group.category is None or group.category in CATEGORIES


def test_sentences():
    assert format_detections([]) == "There are no objects in the image."
    assert format_detections([("car", 1, "[b]")]) == "There is <p>one car</p>[b] in the image."
    assert (
        format_detections([("car", 2, "[b]"), ("ship", 1, "[c]"), ("bus", 11, "[d]")])
        == "There are <p>two cars</p>[b], <p>one ship</p>[c] and <p>11 buss</p>[d] in the image."
    )
    assert [count_word(n) for n in (1, 10, 11)] == ["one", "ten", "11"]
