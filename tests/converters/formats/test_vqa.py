import json

import pytest

from converters.formats.vqa import (
    QuestionAnswer,
    parse_floodnet,
    parse_question_lines,
    parse_question_text,
    parse_rsvqa,
)
from mmrs.errors import BadItem


def rsvqa(images, questions, answers):
    tables = {"images": images, "questions": questions, "answers": answers}
    return parse_rsvqa(*(json.dumps({key: rows}).encode() for key, rows in tables.items()), "x")


def question(key, image, answer, **more):
    return {"id": key, "img_id": image, "type": "count", "question": "How many?", "answers_ids": [answer]} | more


def test_rsvqa_is_joined_by_id_and_stubs_count_as_absent():
    stub = {"id": 0, "active": False}
    found = rsvqa(
        [stub, {"id": 1, "active": True}],
        [stub, question(7, 1, 9), question(8, 0, 9), question(3, 1, 0)],
        [stub, {"id": 9, "answer": "16218", "active": True}],
    )
    assert found.images == {"1": (QuestionAnswer("How many?", "16218", "count"),)}
    assert [reason for _, reason in found.problems] == [
        "question 8 is of image 0, which is not active in this split",
        "question 3 has no text or no active answer",
    ]


def test_rsvqa_position_is_not_taken_for_the_id():
    found = rsvqa([{"id": 5}], [question(50, 5, 500)], [{"id": 500, "answer": "yes"}])
    assert found.images == {"5": (QuestionAnswer("How many?", "yes", "count"),)}


def test_image_without_questions_is_listed():
    assert rsvqa([{"id": 5}], [], []).images == {"5": ()}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("00001: how many ships?1", ("00001", "how many ships?", "1")),
        ("1.tif:What is it?a port  \r", ("1.tif", "What is it?", "a port")),
        ("a:b:c?d?e", ("a", "b:c?", "d?e")),
    ],
)
def test_lines_are_cut_at_the_first_marks(line, expected):
    found = parse_question_lines(line.encode(), "x")
    assert found.images == {expected[0]: (QuestionAnswer(*expected[1:]),)} and not found.problems


def test_lines_that_cannot_be_cut_and_lines_that_repeat():
    found = parse_question_lines(b"a:b?c\n\na:b?c\na b?c\na:b c\na:b?\n?:d\n", "x")
    assert found.repeats == {"a": 1}
    assert [place for place, _ in found.problems] == ["x:4", "x:5", "x:6", "x:7"]


def test_text_in_turn():
    data = "\ufeffWhat theme？\r\nport\r\n\r\nHow many? \r\n3\r\nWhat theme？\r\nport\r\nodd one?\r\n".encode()
    assert parse_question_text(data, "x") == (
        (QuestionAnswer("What theme?", "port"), QuestionAnswer("How many?", "3")),
        2,
    )


@pytest.mark.parametrize(("data", "words"), [(b"", "no question"), (b"a?\nb?\nc?", "no question"), (b"\xff", "UTF-8")])
def test_text_that_cannot_be_used(data, words):
    with pytest.raises(BadItem, match=words):
        parse_question_text(data, "x")


@pytest.mark.parametrize(
    ("lines", "answers", "left_out"),
    [
        (["a?", "b?", "2", "c?", "3"], ["2", "3"], 1),
        (["a?", "1", "stray", "b?", "2"], ["1", "2"], 1),
        (["a?", "1", "b?", "2", "c?"], ["1", "2"], 1),
        (["a?", "b?", "c?", "3", "c?", "3"], ["3"], 3),
    ],
)
def test_a_question_without_an_answer_costs_itself(lines, answers, left_out):
    found, count = parse_question_text("\n".join(lines).encode(), "x")
    assert ([asked.answer for asked in found], count) == (answers, left_out)


def test_floodnet_keeps_text_and_turns_counts_into_text():
    rows = {
        "0": {"Image_ID": "1.JPG", "Question": "How many?", "Ground_Truth": 3, "Question_Type": "Simple_Counting"},
        "3": {"Image_ID": "1.JPG", "Question": "State?", "Ground_Truth": "flooded,non flooded"},
        "4": {"Image_ID": "1.JPG", "Question": "State?"},
        "5": {"Image_ID": "1.JPG", "Question": "State?", "Ground_Truth": True},
        "6": None,
    }
    found = parse_floodnet(json.dumps(rows).encode(), "x")
    assert found.images["1.JPG"] == (
        QuestionAnswer("How many?", "3", "Simple_Counting"),
        QuestionAnswer("State?", "flooded,non flooded", None),
    )
    assert len(found.problems) == 3 and "row '4' lacks" in found.problems[0][1]
