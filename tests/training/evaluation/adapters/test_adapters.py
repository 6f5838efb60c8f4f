"""What other families are asked, and that their right answers are right in our scores."""

import pytest

from mmrs.errors import UserError
from tests.support.questions import ask, make_object, make_record
from training.evaluation.adapters import adapter_of, adapters, find_adapter, register_adapter
from training.evaluation.adapters.adapter import PixelBudget
from training.evaluation.scores import score
from training.evaluation.task import Answer, Answered

FAMILIES = ["mmrs", "qwen3-vl", "qwen2.5-vl", "internvl", "llava"]
# Sides that no padding, resizing or grid leaves alone.
RECORDS = [
    make_record(
        "wide",
        [
            make_object("ship", (500, 20, 750, 250)),
            make_object("ship", (10, 300, 210, 480)),
            make_object("car", (600, 300, 900, 490)),
        ],
        size=(1000, 500),
        expressions=[("the ship on the right", 0)],
    ),
    make_record("high", [make_object("car", (30, 100, 300, 700))], size=(333, 777), expressions=[("the car", 0)]),
    make_record("empty", []),
]
BOX_TASKS = ["detection-hbb", "detection-obb", "referring", "visual-grounding"]


def answers(adapter, questions, said):
    found = []
    for question, text in zip(questions, said, strict=True):
        translated = adapter.read(question, text)
        found.append(Answered(question, Answer(question.id, translated.text, finish_reason="stop")))
        assert all(0 <= start < end <= len(text) for start, end in translated.spans)
    return found


@pytest.mark.parametrize("task", BOX_TASKS)
@pytest.mark.parametrize("name", FAMILIES)
def test_right_answers_of_every_family_score_one(name, task):
    adapter = find_adapter(name)
    questions = ask(task, RECORDS)
    (row,) = score(answers(adapter, questions, [adapter.reference(question) for question in questions]))
    assert (row.value, row.failed) == (1, 0)


@pytest.mark.parametrize("name", FAMILIES[1:])
def test_frames_are_no_other_frames(name):
    """The right answer of one family is wrong when it is read as another's."""
    questions = ask("visual-grounding", RECORDS)
    said = [find_adapter(name).reference(question) for question in questions]
    for other in FAMILIES[1:]:
        (row,) = score(answers(find_adapter(other), questions, said))
        assert (row.value == 1) == (other == name or {other, name} == {"qwen3-vl", "internvl"}), other


@pytest.mark.parametrize("name", FAMILIES[1:])
def test_whoever_is_asked_for_boxes_is_told_how_to_write_them(name):
    adapter = find_adapter(name)
    (listed, *_), (one, *_), (classed, *_) = (
        ask(t, RECORDS) for t in ("detection-hbb", "visual-grounding", "referring")
    )
    for question in (listed, one, classed):
        assert adapter.prompt(question).startswith(question.prompt) and "x1" in adapter.prompt(question)
    assert "The classes are: car, ship." in adapter.prompt(listed)
    assert "The classes are: ship." in adapter.prompt(classed)
    counting = ask("counting", RECORDS)[0]
    assert adapter.prompt(counting) == counting.prompt
    assert adapter.read(counting, " 2 ").text == "2" and adapter.read(counting, "2").spans is None


@pytest.mark.parametrize(
    ("name", "box"),
    [
        ("mmrs", "[0.500,0.270,0.750,0.500]"),
        ("qwen3-vl", "[500, 40, 750, 500]"),
        ("qwen2.5-vl", "[504, 20, 756, 252]"),
        ("internvl", "<box>[[500, 40, 750, 500]]</box>"),
        ("llava", "[0.50, 0.27, 0.75, 0.50]"),
    ],
)
def test_a_box_in_a_prompt_is_in_the_numbers_of_the_family(name, box):
    """An image of 1000 x 500, which Qwen2.5 sees as 1008 x 504."""
    (question, *_) = ask("region-captioning", RECORDS)
    assert find_adapter(name).prompt(question).endswith(f":{box}")


@pytest.mark.parametrize("name", FAMILIES[1:])
@pytest.mark.parametrize(
    "said", ['[{"bbox_2d": [5, 6', "<ref>ship</ref><box>[[1, 2", "[0.1, 0.2", "no idea", "", "[1, 2, 3]"]
)
def test_what_is_no_box_fails_and_is_counted(name, said):
    questions = ask("detection-hbb", RECORDS[:1])
    (row,) = score(answers(find_adapter(name), questions, [said]))
    assert (row.value, row.failed) == (0, 1)


@pytest.mark.parametrize("name", FAMILIES[1:])
def test_labels_are_read_as_our_classes_are(name):
    adapter, (question,) = find_adapter(name), ask("detection-hbb", RECORDS[1:2])
    right = adapter.reference(question)
    (plural,) = score(answers(adapter, [question], [right.replace("car", "Cars")]))
    (other,) = score(answers(adapter, [question], [right.replace("car", "tank")]))
    assert (plural.value, plural.failed) == (1, 0)
    assert (other.value, other.failures) == (0, {"unknown_class": 1})


@pytest.mark.parametrize("size", [(1000, 500), (28, 29), (5, 900), (4000, 3000), (640, 512), (1, 1), (7, 199)])
def test_images_are_resized_as_transformers_resizes_them(size):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    for budget in (PixelBudget(28, 3136, 1003520), PixelBudget(32, 65536, 300000)):
        width, height = size
        expected = smart_resize(height, width, budget.factor, budget.least, budget.most)
        assert budget.resized(width, height) == expected[::-1]


def test_adapters_are_found_by_the_kind_of_model():
    assert [adapter.name for adapter in adapters()] == FAMILIES
    assert adapter_of("qwen2_5_vl", "DIR").name == "qwen2.5-vl"
    with pytest.raises(UserError, match=r"DIR: nothing is known of how a florence2 model writes boxes.*--adapter"):
        adapter_of("florence2", "DIR")
    with pytest.raises(UserError, match=r"'qwen' is not known.*set --adapter to one of mmrs, qwen3-vl"):
        find_adapter("qwen")
    with pytest.raises(ValueError, match="already"):
        register_adapter(find_adapter("llava"))
