"""Each check finds its fault and is silent on what the build writes."""

import pytest

from mmrs.curation.text_checks import check_record, contradiction
from mmrs.geometry import quad_from_hbb
from mmrs.instructions.dialects import dialect
from mmrs.instructions.render import RenderOptions, render
from mmrs.record import AnnotatedObject, AnsweredQuestion, Expression, ImageInfo, Record

ALL_TASKS = frozenset(
    {
        "classification",
        "captioning",
        "vqa",
        "detection-hbb",
        "detection-obb",
        "visual-grounding",
        "region-captioning",
    }
)
CATEGORIES = ("car", "ship", "airport", "harbor")


def record(boxes=(), size=(800, 600), **known):
    objects = tuple(
        AnnotatedObject(category=name, label=name, quad=quad_from_hbb(box)[0].tolist(), hbb=box) for name, box in boxes
    )
    image = ImageInfo(width=size[0], height=size[1], mode="RGB", sha256="0" * 64)
    return Record(
        id="s/train/1", source="s", split="train", sensor="optical", image=image, licence="x", objects=objects, **known
    )


def rendered(value, name="mmrs"):
    dialogues = render(value, RenderOptions(dialect(name), ALL_TASKS)).dialogues
    return value.model_copy(update={"dialogues": dialogues})


def found(value, categories=CATEGORIES):
    return [
        (finding.level, finding.check, finding.place) for finding in check_record(value, categories, dialect("mmrs"))
    ]


def with_answer(value, text, number=0):
    dialogues = list(value.dialogues)
    human, gpt = dialogues[number].turns
    turns = (human, gpt.model_copy(update={"value": text}))
    dialogues[number] = dialogues[number].model_copy(update={"turns": turns})
    return value.model_copy(update={"dialogues": tuple(dialogues)})


BOXES = [("car", (10, 10, 60, 40)), ("car", (100, 80, 160, 140)), ("ship", (300, 300, 500, 420))]


@pytest.mark.parametrize("name", ["mmrs", "mmrs1m"])
@pytest.mark.parametrize("boxes", [BOXES, BOXES[:1], [], BOXES * 15])
def test_what_the_build_writes_is_clean(boxes, name):
    value = record(
        boxes,
        label="harbor",
        captions=("Some ships are in a harbor .", "Many ships"),
        questions=(AnsweredQuestion(question="Is there a ship?", answer="yes"),),
        expressions=tuple(Expression(text=f"object {number}", object=number) for number in range(min(2, len(boxes)))),
    )
    assert found(rendered(value, name)) == []


def test_a_wrong_count_word():
    value = rendered(record(BOXES))
    text = value.dialogues[0].turns[1].value.replace("two cars", "three cars")
    assert found(with_answer(value, text)) == [("error", "count word", "dialogues[0]")]


def test_a_count_word_that_is_missing():
    value = rendered(record(BOXES))
    text = value.dialogues[0].turns[1].value.replace("two cars", "cars")
    assert found(with_answer(value, text)) == [("error", "count word", "dialogues[0]")]


def test_a_list_that_is_not_that_of_the_record():
    value = rendered(record(BOXES))
    shorter = rendered(record(BOXES[1:])).dialogues[0].turns[1].value
    assert found(with_answer(value, shorter)) == [("error", "box count", "dialogues[0]")]


def test_a_list_that_is_not_that_of_its_region():
    boxes = [("ship", (10.0 * n, 5.0 * n, 10.0 * n + 8, 5.0 * n + 8)) for n in range(61)]
    value = rendered(record(boxes))
    first, second = (dialogue.turns for dialogue in value.dialogues if dialogue.task == "detection-hbb")
    assert "region" in first[0].value
    assert found(value) == []
    number = [dialogue.turns for dialogue in value.dialogues].index(first)
    swapped = with_answer(value, second[1].value, number)
    assert found(swapped) == [("error", "box count", f"dialogues[{number}]")]


def test_objects_that_are_denied():
    value = rendered(record(BOXES))
    assert found(with_answer(value, "There are no ships in the image.", 2)) == [("error", "box count", "dialogues[2]")]


def test_boxes_that_rounding_made_flat():
    value = rendered(
        record([("car", (104, 100, 107, 140))], expressions=(Expression(text="a car", object=0),)), "mmrs1m"
    )
    places = {place for level, check, place in found(value) if (level, check) == ("error", "degenerate box")}
    assert places == {f"dialogues[{number}]" for number in range(len(value.dialogues))}
    assert {dialogue.task for dialogue in value.dialogues} == ALL_TASKS - {"classification", "captioning", "vqa"}


def test_texts_without_words():
    value = record(captions=(" .", "A road."), questions=(AnsweredQuestion(question="How many?", answer="-"),))
    assert found(value) == [
        ("error", "empty text", "captions[0]"),
        ("error", "empty text", "questions[0].answer"),
    ]


def test_unknown_classes_in_the_record_and_in_its_text():
    value = rendered(record([("tank", (10, 10, 60, 40))], label="castle"))
    checks = [(check, place) for _, check, place in found(value)]
    assert checks[:2] == [("unknown class", "objects"), ("unknown class", "label")]
    assert ("unknown class", "dialogues[1]") in checks
    assert found(value, ()) == []


def test_ignored_objects_may_have_any_name():
    value = record([("don't care", (10, 10, 60, 40))])
    ignored = value.objects[0].model_copy(update={"ignore": True})
    assert found(value.model_copy(update={"objects": (ignored,)})) == []


def test_repeats_are_warnings_that_name_the_first():
    value = record(
        captions=("A road.", "Two roads.", "a  road"),
        questions=(AnsweredQuestion(question="Is it?", answer="yes"), AnsweredQuestion(question="is it", answer="Yes")),
    )
    value = rendered(value)
    assert found(value) == [
        ("warning", "duplicate caption", "captions[2]"),
        ("warning", "duplicate question", "questions[1]"),
    ]


def test_repeated_regions():
    twice = (Expression(text="a car", object=0), Expression(text="a car", object=0))
    value = rendered(record(BOXES, expressions=twice))
    assert found(value) == [
        ("warning", "duplicate dialogue", "dialogues[2]"),
        ("warning", "duplicate dialogue", "dialogues[3]"),
    ]


def test_two_answers_to_one_question():
    value = record(
        questions=(AnsweredQuestion(question="Is it?", answer="yes"), AnsweredQuestion(question="Is it?", answer="no"))
    )
    assert found(value) == [("warning", "two answers", "questions[1]")]


def test_captions_about_another_scene():
    labels = ("airport", "harbor", "baseball diamond", "storage tanks")
    assert contradiction("airport", ["Ships in a harbor", "a harbor with boats"], labels)
    assert contradiction("airport", ["Ships in a harbor", "planes at an airport"], labels) is None
    assert contradiction("airport", ["Ships at sea", "white boats"], labels) is None
    assert contradiction("storage tanks", ["a storage tank near a harbor"], labels) is None
    assert contradiction("airport", [], labels) is None
    value = record(label="airport", captions=("Ships in a harbor", "A harbor."))
    assert found(value) == [("warning", "label against captions", "captions")]


@pytest.mark.parametrize(
    ("flag", "value", "check", "words"),
    [
        ("zero_area", True, "object without area", "has no area"),
        ("duplicate", True, "duplicate object", "repeats an earlier object"),
        ("crossing", True, "crossing edges", "edges that cross"),
        ("inside", 0.25, "object over the edge", "0.25 of it in the image"),
    ],
)
def test_what_readers_flag_is_told(flag, value, check, words):
    plain = record(BOXES)
    objects = [*plain.objects[:-1], plain.objects[-1].model_copy(update={"flags": {flag: value}})]
    (finding,) = check_record(plain.model_copy(update={"objects": tuple(objects)}), CATEGORIES, dialect("mmrs"))
    assert (finding.level, finding.check, finding.place) == ("warning", check, "objects[2]")
    assert words in finding.what and "[300.0, 300.0, 500.0, 420.0]" in finding.what
