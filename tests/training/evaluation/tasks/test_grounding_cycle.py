"""The cycle of grounding: hand cases, and runs whose second turn depends on the first, by one process or by several."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from cli import main
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from tests.support.questions import answer, ask, make_object, make_record, protocol
from training.evaluation.answer_parts import AnswerFolder
from training.evaluation.answers import read_answers
from training.evaluation.comparison.compare import compare
from training.evaluation.generate import PlannedBatch
from training.evaluation.questions import QuestionScope, asked, asks_again, following_questions, load_questions
from training.evaluation.rescore import RescoreConfig, rescore
from training.evaluation.run import EvaluationConfig, evaluate
from training.evaluation.scores import score
from training.evaluation.task import Answer, Answered
from training.evaluation.tasks import find_task
from training.evaluation.workers import AnswerJob, RankShare, answer_share

QUIET = Progress(quiet=True)
SCOPE = QuestionScope(tasks=("grounding-cycle",))
GROUNDING, CYCLE = find_task("visual-grounding"), find_task("grounding-cycle")
BOXES = [(100, 100, 300, 300), (500, 500, 700, 900)]
PHRASES = ["the ship on the left", "the long ship"]


def first_turns(texts):
    objects = [make_object("ship", box) for box in BOXES]
    record = make_record("a", objects, (1000, 1000), [(phrase, n) for n, phrase in enumerate(PHRASES)])
    return answer(ask("visual-grounding", [record]), texts)


def second_turns(first):
    return following_questions(SCOPE, [pair.question for pair in first], [pair.answer for pair in first])


def test_each_answer_is_asked_about_by_the_box_that_it_gave():
    first = first_turns(["It is [0.110,0.100,0.300,0.300].", "nowhere"])
    one, other = second_turns(first)
    assert one.id == first[0].question.id.replace("visual-grounding", "grounding-cycle")
    assert "0.110,0.100,0.300,0.300" in one.prompt and one.truth.iou == pytest.approx(0.95)
    assert (other.prompt, other.truth.iou) == ("", 0) and asked([one, other]) == [one]
    assert second_turns([replace_answer(first[0], None)])[0].prompt == ""
    assert following_questions(QuestionScope(tasks=("visual-grounding",)), [first[0].question], []) == []


def replace_answer(pair, text):
    return Answered(pair.question, replace(pair.answer, text=text or "", finish_reason="missing"))


@pytest.mark.parametrize(
    ("boxes", "phrases", "value", "exact", "found"),
    [
        (
            ["[0.100,0.100,0.300,0.300]", "[0.500,0.500,0.700,0.900]"],
            ["The ship on the left.", "the long ship"],
            1,
            1,
            1,
        ),
        (["[0.100,0.100,0.300,0.300]", "[0.500,0.500,0.700,0.900]"], ["a car", "the long ship"], 0.5, 0.5, 1),
        (["[0.600,0.600,0.900,0.900]", "[0.500,0.500,0.700,0.900]"], PHRASES, 0.5, 1, 0.5),
        (["nowhere", "[0.500,0.500,0.700,0.900]"], [PHRASES[0], ""], 0, 0, 0.5),
    ],
)
def test_the_cycle_closes_where_box_and_phrase_are_right(boxes, phrases, value, exact, found):
    pairs = answer(second_turns(first_turns(boxes)), phrases)
    scores = protocol("grounding-cycle", "grounding-cycle/v1").score(pairs)
    assert (scores.value, scores.details["exact_phrase"], scores.details["pr@0.5"]) == (value, exact, found)
    assert [CYCLE.is_wrong(pair) for pair in pairs].count(False) == value * 2
    (row,) = score(pairs)
    assert row.questions == 2 and row.constant_value <= 0.5


@pytest.fixture(scope="module")
def grounded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grounded")
    for words in (
        ("sample", "dior-rsvg", "--out", folder / "raw"),
        ("build", "dior-rsvg", "--root", f"dior-rsvg={folder / 'raw'}", "--out", folder / "shards", "--workers", "1"),
    ):
        assert CliRunner().invoke(main, ["--quiet", *map(str, words)]).exit_code == 0
    return ShardSet(folder / "shards")


class Scripted:
    """Grounds two phrases of three, and describes every region by its own phrase but the first."""

    def plan(self, questions):
        return [PlannedBatch(questions[start : start + 3], 8) for start in range(0, len(questions), 3)]

    def answer(self, batch):
        return [Answer(one.id, self._say(one), one.prompt, "stop") for one in batch.questions]

    def _say(self, question):
        if question.task == GROUNDING.name:
            return GROUNDING.reference(question) if sum(map(ord, question.truth.text)) % 3 else "I see none."
        return question.truth.text if len(question.truth.text) % 2 else "a region"


@pytest.fixture
def scripted(monkeypatch):
    monkeypatch.setattr("training.evaluation.workers.open_answerer", lambda *ignored: Scripted())


@pytest.fixture
def whole(grounded, model_folder, scripted, tmp_path):
    config = EvaluationConfig(model_folder, grounded.location, tmp_path / "whole", SCOPE)
    return config, evaluate(config, QUIET)


def test_a_run_asks_twice_and_scores_both_turns(grounded, whole):
    config, result = whole
    answers = read_answers(result.answers_path)
    first = load_questions(grounded, SCOPE)
    second = asked(following_questions(SCOPE, first, answers))
    assert asks_again(SCOPE) and 0 < len(second) < len(first)
    assert [one.id for one in answers] == [question.id for question in (*first, *second)]
    assert [one.prompt for one in answers] == [question.prompt for question in (*first, *second)]
    rows = {row.task: row for row in result.rows}
    assert rows.keys() == {"visual-grounding", "grounding-cycle"}
    assert rows["grounding-cycle"].questions == rows["visual-grounding"].questions == len(first)
    again = rescore(RescoreConfig(result.answers_path, grounded.location, config.out / "again", SCOPE))
    assert again.rows == result.rows
    (config.out / "again" / "answers.jsonl").write_bytes(result.answers_path.read_bytes())
    assert {
        row.difference for row in compare(config.out, config.out, grounded.location, config.out / "p.html").rows
    } == {0}


def test_shares_and_a_stopped_run_end_in_the_same_bytes(grounded, whole, tmp_path):
    config, result = whole
    out = tmp_path / "shared"
    config = replace(config, out=out)
    folder = AnswerFolder(out)
    folder.begin(json.loads((result.answers_path.parent / "answers.begun.json").read_bytes()))
    job = AnswerJob(config.model, config.data, out, SCOPE, config.decoding)
    first = load_questions(grounded, SCOPE)
    for rank in (1, 0):
        answer_share(job, RankShare(rank, 2, "cpu"), grounded, first, lambda steps: None)
    second = asked(following_questions(SCOPE, first, folder.answered().values()))
    answer_share(replace(job, following=True), RankShare(1, 2, "cpu"), grounded, second, lambda steps: None)
    assert evaluate(config, QUIET).answers_path.read_bytes() == result.answers_path.read_bytes()
    assert not list(out.glob("*.part-*"))
