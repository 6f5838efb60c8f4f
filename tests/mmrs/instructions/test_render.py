"""Record -> dialogues: what is asked, and what is never said."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrs.geometry import SquareFrame, quad_from_hbb
from mmrs.instructions import prompts
from mmrs.instructions.answers import count_word, parse_detections
from mmrs.instructions.dialects import DIALECTS
from mmrs.instructions.grammar import answer_pattern
from mmrs.instructions.regions import cut_regions, object_centres, region_members
from mmrs.instructions.render import RenderOptions, render, render_records
from mmrs.record import AnnotatedObject, AnsweredQuestion, ImageInfo, Record

ALL = frozenset({"classification", "captioning", "detection-hbb", "detection-obb"})
HORIZONTAL = frozenset({"detection-hbb"})


def make_record(objects=(), **parts) -> Record:
    image = ImageInfo(width=640, height=512, mode="L", sha256="0" * 64)
    things = tuple(
        AnnotatedObject(category=name, label=name, quad=quad_from_hbb(box)[0].tolist(), hbb=box, ignore=ignore)
        for name, box, ignore in objects
    )
    return Record(
        id="toy/train/a",
        source="toy",
        split="train",
        sensor="infrared",
        image=image,
        objects=things,
        licence="CC0",
        **parts,
    )


def options(tasks=ALL, **changes) -> RenderOptions:
    return RenderOptions(dialect=DIALECTS["mmrs"], tasks=tasks, **changes)


def test_each_reference_caption_is_a_dialogue_of_its_own():
    record = make_record(captions=("a road .", "a wide road ."), label="freeway")
    rendered = render(record, options(frozenset({"classification", "captioning"}))).dialogues
    assert [(d.task, len(d.turns), d.turns[1].value) for d in rendered] == [
        ("classification", 2, "freeway"),
        ("captioning", 2, "a road ."),
        ("captioning", 2, "a wide road ."),
    ]


def test_a_question_gets_the_tail_unless_it_is_a_whole_prompt():
    asked = (
        AnsweredQuestion(question="A port?", answer="yes"),
        AnsweredQuestion(question="Why?", answer="ships", type="verbatim"),
    )
    rendered = render(make_record(questions=asked), options(frozenset({"vqa"}))).dialogues
    assert [d.turns[0].value for d in rendered] == [prompts.VQA.format(question="A port?"), "Why?"]


def test_detection_covers_all_objects_and_each_class():
    boxes = [
        ("car", (10, 20, 60, 50), False),
        ("person", (100, 100, 110, 130), False),
        ("car", (300, 9, 340, 40), False),
    ]
    rendered = render(make_record(boxes), options(frozenset({"detection-hbb"}))).dialogues
    assert [d.turns[0].value for d in rendered] == [
        "Please detect all objects in this image.",
        "Detect cars shown in the image using horizontal bounding boxes.",
        "Detect persons shown in the image using horizontal bounding boxes.",
    ]
    groups = parse_detections(rendered[0].turns[1].value, SquareFrame(640, 512), ["car", "person"], DIALECTS["mmrs"])
    assert [(g.category, g.count) for g in groups] == [("car", 2), ("person", 1)]
    assert abs(groups[0].boxes.hbb[0] - [10, 20, 60, 50]).max() <= 0.32 + 1e-9


def test_ignored_objects_appear_in_no_text_and_forbid_saying_none():
    only_ignored = make_record([("dontcare", (10, 10, 50, 50), True)])
    assert render(only_ignored, options()).dialogues == ()
    mixed = make_record([("dontcare", (10, 10, 50, 50), True), ("car", (60, 60, 90, 90), False)])
    texts = [d.turns[1].value for d in render(mixed, options()).dialogues]
    assert texts and not any("dontcare" in text for text in texts)


def test_an_empty_image_says_so():
    (dialogue,) = render(make_record(), options(frozenset({"detection-hbb"}))).dialogues
    assert dialogue.turns[1].value == "There are no objects in the image."


def crowd(count, name="ship", seed=0):
    """Boxes of 8 by 6 pixels, most of them in one corner."""
    corners = np.random.default_rng(seed).beta(0.8, 3, (count, 2)) * (630, 500)
    return [(name, (x, y, x + 8, y + 6), False) for x, y in corners.tolist()]


def read_boxes(dialogue, names=("ship", "car")):
    groups = parse_detections(dialogue.turns[1].value, SquareFrame(640, 512), names, DIALECTS["mmrs"])
    assert all(group.count == len(group.boxes.hbb) and not group.boxes.malformed for group in groups)
    return [(group.category, *box) for group in groups for box in group.boxes.hbb.round(1).tolist()]


def test_one_class_is_said_once_unless_both_are_asked_for():
    record = make_record(crowd(3))
    (all_objects,) = render(record, options(HORIZONTAL)).dialogues
    assert all_objects.turns[0].value == prompts.DETECTION_ALL["detection-hbb"]
    both = render(record, options(HORIZONTAL, repeat_single_class=True)).dialogues
    assert len(both) == 2 and both[0].turns[1] == both[1].turns[1]


@pytest.mark.parametrize("per_class", [True, False])
def test_beyond_the_limit_classes_take_the_place_of_all_objects(per_class):
    record = make_record([*crowd(4), *crowd(3, "car", 1)])
    rendered = render(record, options(HORIZONTAL, max_objects_per_dialogue=6, per_class_prompts=per_class))
    assert [d.turns[0].value.split()[1] for d in rendered.dialogues] == ["ships", "cars"]
    assert [len(read_boxes(dialogue)) for dialogue in rendered.dialogues] == [4, 3]
    assert rendered.objects_in_no_dialogue == 0


@pytest.mark.parametrize("name", sorted(DIALECTS))
@pytest.mark.parametrize("task", ["detection-hbb", "detection-obb"])
def test_beyond_the_limit_of_a_class_regions_hold_every_object_once(name, task):
    """61 ships, and 40 cars that fit: no list is longer than 60, none is cut, and each says what its region holds."""
    dialect, frame = DIALECTS[name], SquareFrame(640, 512)
    record = make_record([*crowd(61), *crowd(40, "car", 1)])
    rendered = render(record, RenderOptions(dialect, frozenset({task})))
    assert rendered.objects_in_no_dialogue == 0
    regions, cars = rendered.dialogues[:-1], rendered.dialogues[-1]
    assert len(regions) == 2 and cars.turns[0].value.startswith("Detect cars shown in the image")
    ships = [item.extent() for item in record.objects if item.category == "ship"]
    centres = object_centres(ships, frame)
    found = []
    for dialogue in regions:
        (region,) = re.findall(r"\[(.*?)\]", dialogue.turns[0].value)
        inside = region_members(region, centres, frame, dialect)
        written = dialect.format_hbb([ships[position] for position in inside], frame)
        if task == "detection-hbb":
            assert (
                dialogue.turns[1].value == f"There are <p>{count_word(len(inside))} ships</p>{written} in the region."
            )
        x1, y1, x2, y2 = dialect.parse(region, frame).hbb[0]
        assert all(x1 - 4 <= x <= x2 + 4 and y1 - 4 <= y <= y2 + 4 for x, y in centres[inside])
        assert re.fullmatch(answer_pattern(task, ["ship", "car"], dialect), dialogue.turns[1].value)
        found += inside
    assert sorted(found) == list(range(61))


@given(
    count=st.integers(0, 200), most=st.integers(1, 20), seed=st.integers(0, 99), name=st.sampled_from(sorted(DIALECTS))
)
@settings(deadline=None, max_examples=40)
def test_regions_part_all_that_the_grid_can_part(count, most, seed, name):
    frame, dialect = SquareFrame(1000, 300), DIALECTS[name]
    # Multiples of ten lie on steps of either grid, so many centres lie on cuts, and some are the same.
    centres = np.random.default_rng(seed).integers(0, (101, 31), (count, 2)) * 10.0
    regions = cut_regions(centres, frame, dialect, most)
    members = [member for region in regions for member in region.members]
    assert len(set(members)) == len(members)
    assert all(0 < len(region.members) <= most for region in regions)
    assert all(region_members(region.text[1:-1], centres, frame, dialect) == list(region.members) for region in regions)
    left = np.delete(centres, members, axis=0)
    # Only a place with more objects than a list may have is left over; at the far edge two places share a region.
    places = Counter(map(tuple, np.minimum(left, (990, 290)).tolist()))
    assert all(shared > most for shared in places.values())


def test_only_objects_at_one_place_are_left_out_and_counted():
    record = make_record([("ship", (10, 20, 18, 26), False)] * 5 + crowd(4))
    rendered = render(record, options(HORIZONTAL, max_objects_per_dialogue=4))
    assert rendered.objects_in_no_dialogue == 5
    assert sum(len(read_boxes(dialogue)) for dialogue in rendered.dialogues) == 4


def test_objects_of_an_image_with_unread_rows_are_counted_too():
    assert render(make_record(crowd(4), metadata={"unread_rows": 1}), options(HORIZONTAL)).objects_in_no_dialogue == 4
    assert render(make_record(crowd(4)), options(frozenset({"captioning"}))).objects_in_no_dialogue == 0


def test_boxes_in_text_are_clipped_to_the_image():
    record = make_record([("car", (-40, -10, 20, 30), False)])
    (dialogue,) = render(record, options(frozenset({"detection-hbb"}))).dialogues
    (group,) = parse_detections(dialogue.turns[1].value, SquareFrame(640, 512), ["car"], DIALECTS["mmrs"])
    assert group.boxes.hbb[0].tolist() == pytest.approx([0, 0, 20, 30], abs=0.33)
    assert dialogue.turns[0].value == prompts.DETECTION_ALL["detection-hbb"]


def test_questions_and_regions_are_dialogues_of_their_own():
    boxes = [("car", (64, 0, 128, 64), False), ("car", (300, 300, 340, 340), True)]
    record = make_record(
        boxes,
        questions=({"question": "How many cars?", "answer": "2", "type": "count"},),
        expressions=({"text": "The tiny car", "object": 0}, {"text": "an ignored one", "object": 1}),
    )
    tasks = frozenset({"vqa", "visual-grounding", "region-captioning"})
    rendered = render(record, options(tasks)).dialogues
    assert [(d.task, d.turns[0].value, d.turns[1].value) for d in rendered] == [
        ("vqa", "How many cars? Answer the question using a single word or phrase.", "2"),
        (
            "visual-grounding",
            "Please provide the horizontal bounding box coordinate of the region which is described as:The tiny car "
            "in this remote sensing image",
            "[0.100,0.100,0.200,0.200]",
        ),
        (
            "region-captioning",
            "Please provide a short description for this region in this remote sensing image "
            ":[0.100,0.100,0.200,0.200]",
            "The tiny car",
        ),
    ]


def test_an_image_labelled_for_one_class_is_asked_for_that_class_alone():
    """RSOD: each image is labelled for the class of its folder, whatever else it shows."""
    record = make_record([("oiltank", (10, 20, 60, 50), False)], metadata={"labelled_classes": ["oiltank"]})
    (dialogue,) = render(record, options(frozenset({"detection-hbb"}))).dialogues
    assert dialogue.turns[0].value == "Detect oiltanks shown in the image using horizontal bounding boxes."
    assert render(make_record(metadata={"labelled_classes": ["oiltank"]}), options()).dialogues == ()


def test_nothing_is_said_of_all_objects_where_a_row_was_not_understood():
    """The row may be an object of any class, so neither a list of all nor one of a class nor "no objects" is known."""
    expressions = ({"text": "The car", "object": 0},)
    record = make_record([("car", (10, 20, 60, 50), False)], expressions=expressions, captions=("a road .",))
    asked = options(ALL | {"visual-grounding"}, repeat_single_class=True)
    whole = [dialogue.task for dialogue in render(record, asked).dialogues]
    assert whole.count("detection-hbb") == 2 and whole.count("detection-obb") == 2
    partly = record.model_copy(update={"metadata": {"unread_rows": 1}})
    assert [dialogue.task for dialogue in render(partly, asked).dialogues] == ["captioning", "visual-grounding"]
    assert render(make_record(metadata={"unread_rows": 1}), options()).dialogues == ()
    assert render(make_record(), options()).dialogues != ()


def test_records_rendered_together_are_those_rendered_one_by_one():
    boxes = [("car", (10 * n, 20, 10 * n + 9.5, 60.25), n % 5 == 4) for n in range(1, 40)]
    records = [
        make_record(boxes[start : start + length]) for start, length in ((0, 3), (3, 0), (3, 30), (1, 1), (20, 9))
    ]
    records[2] = records[2].model_copy(update={"image": records[2].image.model_copy(update={"height": 640})})
    options = RenderOptions(DIALECTS["mmrs"], ALL, max_objects_per_dialogue=8)
    assert render_records(records, options) == [render(record, options) for record in records]
