"""Words of answers made comparable."""

import pytest

from training.evaluation.metrics.words import first_number, normalise_answer

SAME = (
    *("Golf Course", "golf course.", " golf_course ", "golf-course", "GOLF  COURSE.", "golfcourse"),
    *('"Golf course"', "golf course\nbecause of the lawn", "\uff27olf course"),
)


@pytest.mark.parametrize("text", SAME)
def test_normalised_answers(text):
    assert normalise_answer(text) == "golfcourse"


@pytest.mark.parametrize("text", ["", " ", "\n", "...", "-", '""'])
def test_nothing_is_nothing(text):
    assert normalise_answer(text) == ""


def test_letters_of_every_script_count():
    assert normalise_answer("高尔夫球场") == "高尔夫球场" and normalise_answer("Straße") == "straße"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("7", 7),
        ("There are 12 ships.", 12),
        ("twenty-one", 21),
        ("Twenty one cars", 21),
        ("about one hundred", 100),
        ("a hundred", 100),
        ("zero", 0),
        ("1,204 trees", 1204),
        ("none", 0),
        ("no ships", 0),
        ("many", None),
        ("someone", None),
        ("", None),
        ("-3", 3),
        ("9" * 400, None),
    ],
)
def test_first_numbers(text, number):
    assert first_number(text) == number
