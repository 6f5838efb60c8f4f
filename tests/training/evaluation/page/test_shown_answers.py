"""What the viewer is handed: each answer scored as the task scores it, its boxes in pixels of the stored image."""

import json

import numpy as np
import pytest

from mmrs.errors import UserError
from training.evaluation.page.shown_answers import shown_answers
from training.evaluation.questions import QuestionScope, load_questions
from training.evaluation.tasks import find_task


@pytest.fixture
def questions(data):
    return load_questions(data, QuestionScope(tasks=("detection-hbb",)))


def write(path, lines):
    path.write_text("\n".join(json.dumps({"id": name, "text": text}) for name, text in lines))
    return path


def test_the_reference_is_right_and_its_boxes_are_the_truth(data, questions, tmp_path):
    said = [(question.id, find_task(question.task).reference(question)) for question in questions[:-1]]
    found = shown_answers(data.location, write(tmp_path / "answers.jsonl", said))
    assert sorted(found) == sorted(question.record.id for question in questions[:-1]), "unanswered ones are left out"
    for question in questions[:-1]:
        (answer,) = found[question.record.id]
        assert (answer.task, answer.score, answer.failures) == ("detection-hbb", 1.0, ())
        drawn, true = np.array(answer.answer_quads), np.array(answer.truth_quads)
        assert drawn.shape == true.shape == (len(question.record.objects), 4, 2)
        least = np.abs(drawn[:, None] - true[None]).max(axis=(2, 3)).min(axis=1)
        assert least.max() <= 1, "three decimals of a side"


def test_failures_have_their_reasons(data, questions, tmp_path):
    said = [
        (questions[0].id, " "),
        (questions[1].id, "There is <p>one car</p>[0.1,0.2,0.3"),
        ("other/test/1#vqa", "yes"),
    ]
    found = shown_answers(data.location, write(tmp_path / "answers.jsonl", said))
    assert found[questions[0].record.id][0].failures == ("empty",)
    assert found[questions[1].record.id][0].failures != () and found[questions[1].record.id][0].score < 1
    assert len(found) == 2


def test_answers_to_other_data_are_told(data, tmp_path):
    with pytest.raises(UserError, match="other/test/1#vqa"):
        shown_answers(data.location, write(tmp_path / "answers.jsonl", [("other/test/1#vqa", "yes")]))
