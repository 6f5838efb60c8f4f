"""Questions about images: the authors' bins, one rule a type, tables of two, three and four types, constant answers."""

import numpy as np
import pytest

from mmrs.record import AnsweredQuestion
from tests.support.questions import answer, ask, make_record
from training.evaluation.scores import score
from training.evaluation.tasks import find_task
from training.evaluation.tasks.vqa_rules import (
    bin_of,
    kind_of_truth,
    read_area,
    read_area_bin,
    read_count_bin,
    read_rural_urban,
    read_yes_no,
)


def record_of(source, name, questions):
    asked = tuple(AnsweredQuestion(question="What?", answer=text, type=kind) for kind, text in questions)
    made = make_record(name, questions=asked)
    return made.model_copy(update={"source": source, "id": f"{source}/test/{name}"})


def scored(source, truths, texts, *protocols):
    questions = ask("vqa", [record_of(source, "a", truths)])
    return score(answer(questions, texts), protocols)


def authors_bin(number, unit=""):
    """The table of RSVQA's VocabEncoder: from its condition to the name of the bin."""
    if number > 0 and number <= 10:
        return f"between 0{unit} and 10{unit}"
    if number > 10 and number <= 100:
        return f"between 10{unit} and 100{unit}"
    if number > 100 and number <= 1000:
        return f"between 100{unit} and 1000{unit}"
    return f"more than 1000{unit}" if number > 1000 else f"0{unit}"


@pytest.mark.parametrize("number", [0, 1, 9, 10, 11, 99, 100, 101, 999, 1000, 1001, 17139])
def test_bins_are_those_of_the_authors(number):
    """A number and the name that the authors give its bin are one answer, and no other name is."""
    assert read_count_bin(str(number)) == read_count_bin(authors_bin(number)) == bin_of(number)
    assert read_area_bin(f"{number}m2") == read_area_bin(authors_bin(number, "m2")) == bin_of(number)
    for other in (0, 5, 50, 500, 5000):
        assert (read_count_bin(authors_bin(other)) == bin_of(number)) == (authors_bin(other) == authors_bin(number))


@pytest.mark.parametrize(
    ("text", "area"),
    [
        ("123m2", 123), ("123 m2", 123), ("123 square meters", 123), ("about 1,230 square metres.", 1230),
        ("12.5 m²", 12.5), ("123", None), ("m2", None), ("123 metres", None), ("A3m2", None), ("3m25", None),
    ],
)  # fmt: skip
def test_an_area_has_a_unit(text, area):
    assert read_area(text) == area


@pytest.mark.parametrize(
    ("text", "said"),
    [("Yes.", "yes"), ("no, there is none", "no"), ("not sure", None), ("another", None), ("north", None),
     ("there is no ship: yes", None), ("", None), ("\n No", "no"), ("yes_no", "yes"), ("yesterday", None)],
)  # fmt: skip
def test_yes_or_no_is_the_first_word(text, said):
    assert read_yes_no(text) == said


def test_rural_and_urban_are_words_alone():
    assert [read_rural_urban(text) for text in ("Rural.", "urban", "suburban", "a rural area")] == [
        "rural", "urban", None, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("truth", "kind"),
    [("Yes", "yes or no"), ("17", "number"), ("twenty-one", "number"), ("about forty", "number"), ("rural", "rural or "
     "urban"), ("non flooded", "text"), ("flooded,non flooded", "text"), ("2 ships", "text"), ("none", "number")],
)  # fmt: skip
def test_the_right_answer_says_how_answers_are_read(truth, kind):
    assert kind_of_truth(truth).name == kind


LR = [("presence", "yes"), ("presence", "no"), ("comp", "no"), ("count", "7"), ("count", "0"), ("rural_urban", "rural")]


def test_rsvqa_is_scored_as_its_authors_do_it():
    (row,) = scored("rsvqa-lr", LR, ["yes", "yes", "No.", "9", "between 0 and 10", "rural"])
    assert (row.protocol, row.value) == ("rsvqa/authors", 4 / 6)
    assert row.details["accuracy_by_type"] == {"comp": 1, "count": 0.5, "presence": 0.5, "rural_urban": 1}
    assert row.details["mean_accuracy_of_types"] == 3 / 4
    # High resolution: counts as they are, areas in bins.
    (row,) = scored("rsvqa-hr", [("count", "7"), ("count", "7"), ("area", "95m2")], ["9", "seven", "12 m2"])
    assert row.value == 2 / 3 and row.details["accuracy_by_type"] == {"area": 1, "count": 0.5}


def test_tables_without_numbers_leave_them_out():
    texts = ["yes", "yes", "No.", "9", "between 0 and 10", "rural"]
    oa, aa = scored("rsvqa-lr", LR, texts, "rsvqa/three-types-oa", "rsvqa/three-types-aa")
    assert (oa.value, aa.value) == (3 / 4, np.mean([1, 0.5, 1]))
    assert oa.details["questions_scored"] == aa.details["questions_scored"] == 4
    (row,) = scored("rsvqa-lr", [("count", "7")], ["7"], "rsvqa/three-types-oa")
    assert (row.value, row.interval_95, row.constant_value) == (None, None, None)


def test_other_sources_have_one_rule_a_type_and_rsvqas_do_not_apply_to_them():
    truths = [
        ("number", "twenty-one"), ("number", "3"), ("other", "top left corner "), ("object", "harbor"),
        ("Yes_No", "Yes"),
    ]  # fmt: skip
    for protocols in ((), ("rsvqa/authors",), ("vqa/by-type",)):
        (row,) = scored(
            "crsvqa", truths, ["21 ships", "there are 13", "Top left corner.", "Harbours", "yes"], *protocols
        )
        assert (row.protocol, row.value) == ("vqa/by-type", 4 / 5)
    assert row.details["rules_by_type"]["number"] == "number" and row.details["texts_outside_label_set"] == 0
    (row,) = scored("crsvqa", [("scene", "port"), ("scene", "farm")], ["farms", "a port"])
    assert row.details["texts_outside_label_set"] == 1


def test_what_cannot_be_read_is_wrong_and_counted():
    (row,) = scored("rsvqa-lr", LR, ["perhaps", "", "no", "many", "1,000,000", "a town"])
    assert row.value == 1 / 6
    assert row.failures == {"empty": 1, "no_number": 1, "no_yes_or_no": 1, "outside_label_set": 1} and row.failed == 4


def test_an_empty_answer_and_a_list_of_all_answers_are_wrong():
    for text in ("", "rural urban", "yes/no rural urban 1 2 3 4 5 6 7"):
        (row,) = scored("rsvqa-lr", [("rural_urban", "rural")], [text])
        assert row.value == 0


def test_the_constant_answer_is_right_as_often_as_the_commonest_of_its_type():
    truths = [
        *[("presence", "yes")] * 3, ("presence", "no"),
        *[("count", number) for number in ("3", "8", "9", "0", "50")],
    ]  # fmt: skip
    (row,) = scored("rsvqa-lr", truths, ["no"] * 4 + ["0"] * 5)
    assert row.constant_value == (3 + 3) / 9 and row.value == 2 / 9
    assert row.constant_answers == {"3": 5, "yes": 4}


def test_the_interval_draws_images_and_questions_of_an_image_stay_together():
    """Two images, one wholly right and one wholly wrong: draws of them give 0, a half or 1."""
    records = [record_of("rsvqa-lr", name, [("presence", "yes")] * 50) for name in ("a", "b")]
    questions = ask("vqa", records)
    (row,) = score(answer(questions, ["yes"] * 50 + ["no"] * 50))
    assert (row.value, row.interval_95, row.images, row.questions) == (0.5, (0, 1), 2, 100)


def test_questions_are_asked_as_in_training_text():
    made = record_of("own", "a", [("verbatim", "yes"), ("presence", "yes")])
    assert [question.prompt for question in ask("vqa", [made])] == [
        "What?", "What? Answer the question using a single word or phrase.",
    ]  # fmt: skip


def test_a_question_in_a_dialogue_follows_right_answers_to_others():
    """The same questions, each after the three before it in the circle, never after itself."""
    made = make_record(
        "a",
        questions=tuple(
            AnsweredQuestion(question=f"{word}?", answer=word, type="presence")
            for word in ("a", "b", "c", "d", "e", "b")
        ),
    )
    task, questions = find_task("vqa-dialogue"), ask("vqa-dialogue", [made])
    assert [question.prompt for question in questions] == [question.prompt for question in ask("vqa", [made])]
    said = {question.truth.text: [text for _, text in task.earlier_turns(question)] for question in questions}
    assert said == {
        "a": ["d", "e", "b"],
        "b": ["d", "e", "a"],
        "c": ["b", "a", "b"],
        "d": ["a", "b", "c"],
        "e": ["b", "c", "d"],
    }
    prompts = {prompt for question in questions for prompt, _ in task.earlier_turns(question)}
    assert prompts == {question.prompt for question in questions}
    (row,) = score(answer(questions, list("abcdeb")))
    assert (row.protocol, row.value) == ("vqa-dialogue/by-type", 1)
    assert find_task("vqa").earlier_turns(questions[0]) == ()
