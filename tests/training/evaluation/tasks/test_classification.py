"""Classes of scenes: spellings, answers outside the list, and the list in the prompt."""

import pytest

from tests.support.questions import answer, ask, make_record
from training.evaluation.scores import score
from training.evaluation.tasks.classification import answered_class

CLASSES = ("airplane", "baseball field", "dense residential", "residential", "harbor")


def value(label, text):
    pairs = answer(ask("classification", [make_record("a", label=label)], CLASSES), [text])
    return score(pairs)[0], answered_class(pairs[0])


@pytest.mark.parametrize(
    "text", ["Baseball-Field.", "baseballfield", "'baseball field'", "baseball fields", "baseball field\nno"]
)
def test_spellings_of_a_class(text):
    row, named = value("baseball field", text)
    assert (row.value, row.failures, named) == (1, {}, "baseball field")


@pytest.mark.parametrize(("label", "text"), [("airplane", "aeroplane"), ("harbor", "Harbours")])
def test_british_spellings(label, text):
    assert value(label, text)[0].value == 1


@pytest.mark.parametrize("text", ["", "field", "airplane, baseball field, harbor", "not a baseball field", "baseball"])
def test_no_part_and_no_list_of_classes_is_an_answer(text):
    row, named = value("baseball field", text)
    assert row.value == 0 and named is None and sum(row.failures.values()) == 1


def test_a_class_inside_another_is_another():
    assert value("dense residential", "residential")[0].value == 0
    assert value("residential", "dense residential")[0].failures == {}


def test_the_list_is_in_the_prompt():
    (question,) = ask("classification-listed", [make_record("a", label="harbor")], CLASSES)
    assert question.prompt.endswith(
        "Reference categories include: airplane, baseball field, dense residential, harbor, residential."
    )
    (row,) = score(answer([question], ["harbor"]))
    assert (row.protocol, row.value) == ("classification-listed/exact", 1)


def test_recall_by_class_and_its_mean():
    records = [make_record(n, label=label) for n, label in enumerate(["harbor"] * 3 + ["airplane"])]
    (row,) = score(answer(ask("classification", records, CLASSES), ["harbor", "harbor", "river", "harbor"]))
    assert row.value == 0.5 and row.details["recall_by_class"] == {"airplane": 0, "harbor": pytest.approx(2 / 3)}
    assert row.details["mean_class_accuracy"] == pytest.approx(1 / 3)
    assert row.details["most_confused"] == [["harbor", "outside_class_list", 1], ["airplane", "harbor", 1]]
