"""Record -> dialogues: what is asked, and what is never said."""

import pytest

from mmrs.geometry import SquareFrame, quad_from_hbb
from mmrs.instructions import prompts
from mmrs.instructions.answers import parse_detections
from mmrs.instructions.dialects import DIALECTS
from mmrs.instructions.render import RenderOptions, render
from mmrs.record import AnnotatedObject, ImageInfo, Question, Record

ALL = frozenset({"classification", "captioning", "detection-hbb", "detection-obb"})


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
    asked = (Question(question="A port?", answer="yes"), Question(question="Why?", answer="ships", type="verbatim"))
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


@pytest.mark.parametrize(("limit", "kept", "left_out"), [(3, 2, 0), (2, 0, 2)])
def test_a_list_is_never_cut(limit, kept, left_out):
    boxes = [("car", (10 * n, 20, 10 * n + 8, 50), False) for n in range(3)]
    rendered = render(make_record(boxes), options(frozenset({"detection-hbb"}), max_objects_per_dialogue=limit))
    assert (len(rendered.dialogues), rendered.too_long) == (kept, left_out)


def test_boxes_in_text_are_clipped_to_the_image():
    record = make_record([("car", (-40, -10, 20, 30), False)])
    (dialogue, _) = render(record, options(frozenset({"detection-hbb"}))).dialogues
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
    asked = options(ALL | {"visual-grounding"})
    whole = [dialogue.task for dialogue in render(record, asked).dialogues]
    assert whole.count("detection-hbb") == 2 and whole.count("detection-obb") == 2
    partly = record.model_copy(update={"metadata": {"unread_rows": 1}})
    assert [dialogue.task for dialogue in render(partly, asked).dialogues] == ["captioning", "visual-grounding"]
    assert render(make_record(metadata={"unread_rows": 1}), options()).dialogues == ()
    assert render(make_record(), options()).dialogues != ()
