import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrs.release.content import infer_task, parse_row, read_number_groups

TERSE = " Answer the question using a single word or phrase."
GROUNDING = "Please provide the horizontal bounding box coordinate of the region which is described as:"


def row(*texts: str, image: str = "data/detection/SSDD/images/1.jpg", **extra) -> bytes:
    turns = [{"from": ("human", "gpt")[number % 2], "value": text} for number, text in enumerate(texts)]
    return json.dumps({"image": image, "conversations": turns, **extra}).encode()


@pytest.mark.parametrize(
    ("prompt", "answer", "family", "task"),
    [
        ("What is the category of this remote sensing image?" + TERSE, "Stadium", None, "classification"),
        ("Please provide a one-sentence caption for the image in details.", "a", None, "captioning"),
        ("Please provide an one-sentence caption for the image in details.", "a", None, "captioning"),
        ("Please provide a short description for this region : [0.1,0.2,0.3,0.4]", "a", "rsvg", "region-captioning"),
        (GROUNDING + "The dam in this remote sensing image", "[0.1,0.2,0.3,0.4]", "rsvg", "visual-grounding"),
        ("Detect ships shown in the image using horizontal bounding boxes.", "There is", None, "detection-hbb"),
        ("Please detect all objects in this image.", "There are two ships [1,2,3,4;....]", None, "detection-hbb"),
        ("Where?", "There are <p>13 ships</p>[0.75,0.69,0.76,0.71]", None, "detection-hbb"),
        ("Where?", "<p>one ship</p>[0.1,0.1,0.2,0.1,0.2,0.2,0.1,0.2]", "detection", "detection-obb"),
        ("Detect ships using oriented bounding boxes.", "There are no ships in the image.", None, "detection-obb"),
        ("Are there ships?" + TERSE, "yes", None, "vqa"),
        ("What is the category of this remote sensing image?", "river", "vqa", "vqa"),
    ],
)
def test_tasks_by_wording_and_family(prompt, answer, family, task):
    assert infer_task(prompt, answer, family) == task


def test_detection_boxes_leave_the_padded_square_where_the_size_is_known():
    text = "There are <p>two storage tanks</p>[0.50,0.25,0.75,0.50;0.00,0.30,0.10,0.40] in the image."
    path = "data/detection/SSDD/images/1.jpg"
    known = parse_row(row("Detect storage tanks.", text), sizes={path: (1000, 500)})
    (group,) = known.pairs[0].groups
    assert (group.name, group.count) == ("storage tanks", 2)
    assert group.numbers == ((0.5, 0.25, 0.75, 0.5), (0.0, 0.3, 0.1, 0.4))
    assert group.pixels == ((500, 0, 750, 250), (0, 50, 100, 150))
    (group,) = parse_row(row("Detect storage tanks.", text)).pairs[0].groups
    assert group.pixels is None and len(group.numbers) == 2


def test_several_classes_and_cut_answers():
    text = "There are <p>one bus</p>[0.1,0.1,0.2,0.2] and <p>11 cars</p>[0.1,0.1,0.2,0.2;0.3,0."
    first, second = parse_row(row("Please detect all objects in this image.", text)).pairs[0].groups
    assert (first.name, first.count, second.name, second.count) == ("bus", 1, "cars", 11)
    assert (len(second.numbers), second.unreadable) == (1, 1)


def test_region_pairs_and_boxes_without_area():
    content = parse_row(
        row(
            "Please provide a short description for this region in this remote sensing image :[0.1,0.2,0.1,0.4]",
            "The dam",
            GROUNDING + "The dam in this remote sensing image",
            "[0.10,0.20,0.30,0.40]",
            image="data/RSVG/DIOR_RSVG/images/1.jpg",
        )
    )
    region, grounding = content.pairs
    assert (region.groups[0].name, region.groups[0].degenerate) == ("The dam", 1)
    assert (grounding.groups[0].name, grounding.groups[0].numbers) == ("The dam", ((0.1, 0.2, 0.3, 0.4),))


def test_image_mark_is_taken_off_the_first_turn():
    assert parse_row(row("<image>\nAre there ships?", "yes")).pairs[0].prompt == "Are there ships?"


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"{", "no JSON"),
        (b"[]", "no object"),
        (b'{"image": 1}', "no object"),
        (row("a"), "question/answer"),
        (row("a", " "), "turn 1 has no text"),
        (row("a", "b").replace(b"human", b"user"), "turn 0"),
        (row("a", "b").replace(b'"value": "a"', b'"value": "a", "x": 1'), "turn 0"),
    ],
)
def test_rows_that_cannot_be_read(raw, words):
    content = parse_row(raw)
    assert words in content.problem and content.pairs == ()


def test_more_keys_are_named_and_the_pairs_read():
    content = parse_row(row("a", "b", id=1))
    assert content.extra_keys == ("id",) and len(content.pairs) == 1


def test_numbers():
    assert read_number_groups("0.1,.2,3,4;;a;1,2") == (((0.1, 0.2, 3.0, 4.0),), 2)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.lists(st.text(max_size=40), max_size=4).map(lambda texts: row(*texts)))
def test_any_bytes_end_in_content(raw):
    content = parse_row(raw, "detection", {})
    assert content.problem is None or content.pairs == ()
