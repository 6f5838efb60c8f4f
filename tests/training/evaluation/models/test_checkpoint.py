"""Other families of transformers end to end, with random weights: asked, answered, translated, scored, resumed."""

import json
import shutil

import pytest

from mmrs.errors import UserError
from mmrs.progress import Progress
from tests.training.evaluation.models import checkpoints
from training.evaluation.answers import read_answers
from training.evaluation.generate import Decoding
from training.evaluation.models.folder import adapter_of_folder, open_answerer
from training.evaluation.questions import QuestionScope, load_questions
from training.evaluation.run import EvaluationConfig, evaluate
from training.evaluation.tasks import find_task

QUIET = Progress(quiet=True)
SCOPE = QuestionScope(tasks=("detection-hbb", "counting"), limit=1)
SHORT = Decoding(batch_size=3, max_new_tokens=2)


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return checkpoints.llava(tmp_path_factory.mktemp("llava"))


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen25_vl", "internvl", "llava"])
def test_a_checkpoint_of_every_family_answers_and_is_scored(data, tmp_path, family):
    folder = getattr(checkpoints, family)(tmp_path / "model")
    result = evaluate(EvaluationConfig(folder, data.location, tmp_path / "out", SCOPE, SHORT), QUIET)
    assert {row.task for row in result.rows} == {"counting", "detection-hbb"}
    questions = load_questions(data, SCOPE)
    answers = read_answers(result.answers_path)
    assert [answer.id for answer in answers] == [question.id for question in questions]
    adapter = adapter_of_folder(folder, "")
    assert [answer.prompt for answer in answers] == [adapter.prompt(question) for question in questions]
    assert {answer.finish_reason for answer in answers} <= {"length", "stop"}
    assert any(answer.said or answer.text for answer in answers)
    written = json.loads(result.scores_path.read_text())
    assert written["adapter"] == adapter.name


def test_a_batch_answers_as_one_question_does(data, llava):
    questions = load_questions(data, QuestionScope(tasks=("counting",)))[:3]

    def said(size):
        answerer = open_answerer(llava, "cpu", Decoding(batch_size=size, max_new_tokens=3), "", data)
        answers = [answer for batch in answerer.plan(questions) for answer in answerer.answer(batch)]
        return {answer.id: (answer.text, answer.said) for answer in answers}

    assert said(1) == said(4)


def test_what_a_stop_left_is_not_asked_again(data, llava, tmp_path, monkeypatch):
    config = EvaluationConfig(llava, data.location, tmp_path / "out", SCOPE, SHORT)
    result = evaluate(config, QUIET)
    before = result.answers_path.read_bytes()
    monkeypatch.setattr("training.evaluation.models.folder.CheckpointAnswerer", None)
    evaluate(config, QUIET)
    assert result.answers_path.read_bytes() == before
    with pytest.raises(UserError, match="adapter was 'llava' and is now 'internvl'"):
        evaluate(EvaluationConfig(llava, data.location, tmp_path / "out", SCOPE, SHORT, adapter="internvl"), QUIET)


def test_boxes_have_the_probabilities_of_their_tokens(data, llava, monkeypatch):
    """The text is made up of the tokens that were chosen, whatever they say."""
    questions = [question for question in load_questions(data, SCOPE) if question.task == "detection-hbb"][:1]
    answerer = open_answerer(llava, "cpu", SHORT, "", data)
    ids = answerer._processor.tokenizer("car: [0.12, 0.3, 0.9, 0.95]", add_special_tokens=False)["input_ids"]
    sure = [-0.1 * place for place in range(len(ids))]
    answer = answerer._answer(questions[0], [*ids, answerer._ends[0], 5], [*sure, -9.0, -9.0])
    assert answer.finish_reason == "stop" and answer.said == "car: [0.12, 0.3, 0.9, 0.95]"
    (mean,) = answer.box_log_probabilities
    start = len(answerer._processor.tokenizer("car: ", add_special_tokens=False)["input_ids"]) - 1
    assert min(sure) <= mean < -0.1 * start / 2


def test_no_code_of_a_folder_is_run_and_what_is_no_model_is_told(data, llava, tmp_path):
    folder = shutil.copytree(llava, tmp_path / "theirs")
    config = json.loads((folder / "config.json").read_text())
    (folder / "theirs.py").write_text("raise SystemExit('was run')")
    config |= {
        "model_type": "theirs",
        "auto_map": {"AutoConfig": "theirs.A", "AutoModelForImageTextToText": "theirs.B"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="nothing is known of how a theirs model writes boxes"):
        adapter_of_folder(folder, "")
    with pytest.raises(UserError, match=r"theirs cannot be loaded .* no code of the folder"):
        open_answerer(folder, "cpu", SHORT, "llava", data)
    with pytest.raises(UserError, match=r"holds no model \(no config.json\)"):
        adapter_of_folder(tmp_path, "")


def test_pickled_weights_are_not_read_and_a_chat_template_is_needed(data, llava, tmp_path):
    folder = shutil.copytree(llava, tmp_path / "theirs")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="has no chat template"):
        open_answerer(folder, "cpu", SHORT, "", data)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot be loaded"):
        open_answerer(folder, "cpu", SHORT, "", data)


def test_what_does_not_go_together_is_said(data, llava, model_folder, tmp_path):
    constrained = Decoding(constrained=True)
    with pytest.raises(UserError, match="--constrained keeps the grammar of our own answers"):
        evaluate(EvaluationConfig(llava, data.location, tmp_path / "out", SCOPE, constrained), QUIET)
    with pytest.raises(UserError, match="is a model of ours, which needs no --adapter"):
        adapter_of_folder(model_folder, "llava")


def test_earlier_turns_come_before_the_question_and_the_image_before_all(data, llava, monkeypatch):
    (question, *_) = load_questions(data, SCOPE)
    task = type(find_task(question.task))
    monkeypatch.setattr(task, "earlier_turns", lambda self, question: [("What is it?", "A port.")])
    answerer = open_answerer(llava, "cpu", SHORT, "", data)
    ids = answerer._inputs([question])["input_ids"][0]
    text = answerer._processor.tokenizer.decode(ids)
    places = [text.index(part) for part in ("<image>", "What is it?", "A port.", question.prompt)]
    assert places == sorted(places)
