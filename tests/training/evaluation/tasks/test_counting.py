"""Counting and referring: one question a class, difficult and ignored objects, all right or not."""

import pytest

from tests.support.questions import answer, ask, make_object, make_record, protocol
from training.evaluation.scores import score
from training.evaluation.tasks import find_task

SHIPS = [make_object("ship", (100 * n, 100, 100 * n + 60, 160)) for n in range(4)]
CAR = make_object("car", (0, 500, 100, 600))


def test_each_class_is_asked_and_numbers_may_be_words():
    questions = ask("counting", [make_record("a", [*SHIPS, CAR])])
    assert [question.prompt.split("?")[0] for question in questions] == [
        "How many ships are there in this remote sensing image",
        "How many cars are there in this remote sensing image",
    ]
    (row,) = score(answer(questions, ["There are four ships.", "2"]))
    assert (row.value, row.details["within_one"], row.details["mean_absolute_error_of_numbers"]) == (0.5, 1, 0.5)
    (row,) = score(answer(questions, ["many", "one"]))
    assert (row.value, row.failures, row.details["answers_with_a_number"]) == (0.5, {"no_number": 1}, 1)


def test_difficult_objects_may_be_counted_or_not_and_an_uncertain_image_is_not_asked():
    hard = make_object("ship", (700, 700, 800, 800), difficult=True)
    questions = ask("counting", [make_record("a", [*SHIPS, hard])])
    assert [score(answer(questions, [text]))[0].value for text in ("3", "4", "5", "6")] == [0, 1, 1, 0]
    crowd = make_object("ship", (700, 700, 800, 800), ignore=True)
    unread = make_record("c", SHIPS, metadata={"unread_rows": 1})
    assert ask("counting", [make_record("b", [*SHIPS, crowd]), unread]) == []


def test_a_class_is_found_whole_or_not():
    questions = ask("referring", [make_record("a", [*SHIPS, CAR])])
    task = find_task("referring")
    whole, one = map(task.reference, questions)
    assert whole.startswith("There are <p>four ships</p>") and one.startswith("There is <p>one car</p>")
    value = protocol("referring", "grec/v1").score
    assert value(answer(questions, [whole, one])).value == 1
    three = task.reference(ask("referring", [make_record("b", SHIPS[:3])])[0])
    assert value(answer(questions, [three, one])).value == 0.5
    both = whole.replace(" in the image", " and <p>one car</p>[0.000,0.500,0.100,0.600] in the image")
    assert value(answer(questions, [both, one])).value == 0.5


@pytest.mark.parametrize("name", ["counting", "referring", "classification-listed"])
def test_they_are_asked_where_they_are_named_alone(name):
    assert find_task(name).built_for in ("detection-hbb", "classification")
