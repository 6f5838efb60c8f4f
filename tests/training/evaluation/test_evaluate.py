"""Evaluation end to end on a model that answers as told, and on a real tiny one."""

import json
from dataclasses import replace

import numpy as np
import orjson
import pytest
from click.testing import CliRunner
from PIL import Image

from cli import main
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.errors import UserError
from mmrs.instructions.answers import format_detections
from mmrs.progress import Progress
from mmrs.record import Record
from mmrs.shards.reader import ShardSet
from tests.support.sources import noise_image, toy_build
from training.evaluation.answers import read_answers, write_answers
from training.evaluation.generate import Decoding, plan_batches
from training.evaluation.questions import QuestionScope, load_questions
from training.evaluation.rescore import RescoreConfig, rescore
from training.evaluation.run import EvaluationConfig, evaluate
from training.evaluation.score_file import describe_scores
from training.evaluation.scores import describe_rows, score
from training.evaluation.task import Answer, Answered, AnswerForm, Question
from training.evaluation.tasks import find_task
from training.model import EarthGPTProcessor

QUIET = Progress(quiet=True)
HORIZONTAL = QuestionScope(tasks=("detection-hbb",))


def perfect(question):
    """The answer that says what the record says."""
    groups = {}
    for item in question.record.objects:
        groups.setdefault(item.category, []).append(item)
    dialect, frame = question.form.dialect, question.frame
    written = [
        (
            category,
            len(items),
            dialect.format_hbb([item.extent() for item in items], frame)
            if question.task == "detection-hbb"
            else dialect.format_obb([item.quad for item in items], frame),
        )
        for category, items in groups.items()
    ]
    return format_detections(written)


def with_objects(question, objects):
    """The same question of a record with other objects."""
    record = question.record.model_copy(update={"objects": tuple(objects)})
    return Question(question.id, question.task, question.prompt, question.truth, record, question.form, question.row)


def build_test_split(folder, contents, **recipe):
    """A data set whose test split has one image of 64 x 48 pixels for each list of (class, box)."""
    root = folder / "toy"
    (root / "test").mkdir(parents=True)
    for number, objects in enumerate(contents):
        (root / "test" / f"{number}.jpg").write_bytes(noise_image(np.random.default_rng(number)))
        (root / "test" / f"{number}.json").write_text(json.dumps({"size": [64, 48], "objects": objects}))
    made = BuildRecipe.model_validate({"sources": [{"name": "toy"}]} | recipe)
    build(plan_build([toy_build(root, splits=("test",))], made, 1, QUIET), made, folder / "out", 1, QUIET)
    return ShardSet(folder / "out")


def score_one(questions, texts, protocols=()):
    (row,) = score(
        [Answered(q, Answer(q.id, text, q.prompt, "stop")) for q, text in zip(questions, texts, strict=True)], protocols
    )
    return row


@pytest.mark.parametrize("task", ["detection-hbb", "detection-obb"])
def test_every_image_is_asked_and_perfect_answers_score_one(data, task):
    questions = load_questions(data, QuestionScope(tasks=(task,)))
    assert [question.record.id for question in questions] == data.table("test")["id"].to_pylist()
    assert max(len(question.record.objects) for question in questions) > 1
    row = score_one(questions, map(perfect, questions))
    assert (row.value, row.details["count_accuracy"], row.failed, row.failures) == (1, 1, 0, {})
    assert row.details["mean_best_iou"] > 0.97 and row.interval_95 == (1, 1)
    assert (row.constant_value, row.constant_answers) == (0, {"There are no objects in the image.": 4})


def test_wrong_and_unreadable_answers_score_nothing_and_stay_in_the_denominator(data):
    questions = load_questions(data, HORIZONTAL)
    answers = [
        "There are <p>two cars</p>[0.1,0.2;x] in the image.",
        "",
        "nonsense",
        "There are no objects in the image.",
    ]
    row = score_one(questions, answers)
    total = sum(len(question.record.objects) for question in questions)
    assert (row.value, row.details["false_negatives"], row.details["false_positives"]) == (0, total, 2)
    assert (row.questions, row.failed) == (4, 3)
    assert row.failures == {"empty": 1, "malformed_box": 1, "no_boxes_and_no_absence": 1}


def test_other_categories_names_do_not_help(data):
    questions = load_questions(data, HORIZONTAL)
    names = {"car": "ship", "ship": "car"}
    swapped = [
        with_objects(q, [item.model_copy(update={"category": names[item.category]}) for item in q.record.objects])
        for q in questions
    ]
    row = score_one(questions, map(perfect, swapped))
    assert row.value < 0.2 and row.details["f1_class_agnostic"] == 1


def test_protocols_are_named_and_a_looser_one_is_no_stricter(data):
    questions = load_questions(data, HORIZONTAL)
    moved = [
        with_objects(q, [i.model_copy(update={"hbb": tuple(value + 2 for value in i.hbb)}) for i in q.record.objects])
        for q in questions
    ]
    strict = score_one(questions, map(perfect, moved))
    loose = score_one(questions, map(perfect, moved), ("detection-hbb/f1-25",))
    assert (strict.protocol, loose.protocol) == ("detection-hbb/f1-50", "detection-hbb/f1-25")
    assert strict.value <= loose.value and loose.details["iou_threshold"] == 0.25
    with pytest.raises(UserError, match=r"detection-hbb/f1-50, detection-hbb/f1-25"):
        score_one(questions, map(perfect, questions), ("f1",))


def test_classes_that_are_not_labelled_in_an_image_are_left_out(data):
    """Nobody knows whether they are there; a name that the source does not know is wrong all the same."""
    question = load_questions(data, HORIZONTAL)[0]
    cars = [item.model_copy(update={"category": "car"}) for item in question.record.objects]
    record = question.record.model_copy(update={"objects": tuple(cars), "metadata": {"labelled_classes": ["car"]}})
    task = find_task("detection-hbb")
    ((prompt, truth),) = task.ask(record, question.form)
    asked = Question(question.id, question.task, prompt, truth, record, question.form, question.row)
    text = perfect(asked).removesuffix(" in the image.")
    for other, wrong in (("ship", 0), ("boat", 1)):
        row = score_one([asked], [f"{text} and <p>one {other}</p>[0.1,0.2,0.3,0.4] in the image."])
        assert row.details["false_positives"] == wrong and row.details["recall"] == 1


def test_unknown_tasks_splits_and_dialects_teach(data):
    with pytest.raises(UserError, match=r"no scorer .*; choose from classification"):
        load_questions(data, QuestionScope(tasks=("captionig",)))
    with pytest.raises(UserError, match="it has toy/test, toy/train"):
        load_questions(data, QuestionScope("dev"))
    with pytest.raises(UserError, match="built for detection-hbb, detection-obb"):
        load_questions(data, QuestionScope(tasks=("classification",)))
    with pytest.raises(UserError, match="mmrs, mmrs1m"):
        load_questions(data, QuestionScope(dialect="klingon"))


@pytest.mark.parametrize("task", ["detection-hbb", "detection-obb"])
def test_a_scene_with_more_objects_than_a_text_may_list_is_asked_and_counted(tmp_path, task):
    """Its truth is the record's 61 ships, whatever its text holds."""
    ships = [("ship", [6 * (n % 10), 6 * (n // 10), 6 * (n % 10) + 5, 6 * (n // 10) + 5]) for n in range(61)]
    shards = build_test_split(tmp_path, [ships, [("car", [3, 3, 30, 30])]])
    questions = load_questions(shards, QuestionScope(tasks=(task,)))
    assert sorted(len(question.truth.categories) for question in questions) == [1, 61]
    row = score_one(questions, map(perfect, questions))
    assert (row.value, row.details["true_positives"], row.images, row.failed) == (1, 62, 2, 0)
    silent = ["There are no objects in the image." if len(q.record.objects) > 1 else perfect(q) for q in questions]
    assert score_one(questions, silent).details["false_negatives"] == 61


def test_a_split_without_objects_has_no_f1(tmp_path):
    questions = load_questions(build_test_split(tmp_path, [[], []]), HORIZONTAL)
    for answers, wrong in (
        (map(perfect, questions), 0),
        (["There is <p>one car</p>[0.1,0.2,0.3,0.4] in the image."] * 2, 2),
    ):
        row = score_one(questions, answers)
        assert (row.value, row.interval_95, row.constant_value) == (None, None, None)
        assert (row.details["recall"], row.details["false_positives"], row.failed) == (None, wrong, 0)
        assert "undefined" in describe_rows([row]) and "0.000" not in describe_rows([row])


def test_answers_may_be_as_long_as_the_longest_right_one(data, model_folder):
    processor = EarthGPTProcessor.from_pretrained(model_folder)
    questions = load_questions(data, HORIZONTAL)

    def longest(asked):
        (most,) = {batch.longest for batch in plan_batches(asked, processor, Decoding())}
        return most

    needed = [
        len(processor.tokenizer(perfect(question), add_special_tokens=False)["input_ids"]) for question in questions
    ]
    task = find_task("detection-hbb")
    assert [task.reference(question) for question in questions] == [perfect(question) for question in questions]
    assert longest(questions) == max(task.max_new_tokens, max(needed) + 1)
    many = [with_objects(question, question.record.objects * 9) for question in questions]
    ((_, truth),) = task.ask(many[0].record, many[0].form)
    crowded = replace(many[0], truth=truth)
    needed = len(processor.tokenizer(perfect(crowded), add_special_tokens=False)["input_ids"])
    assert longest([*questions, crowded]) == max(task.max_new_tokens, needed + 1)


def test_a_limit_takes_the_first_images(data):
    every = [question.id for question in load_questions(data, QuestionScope())]
    assert [question.id for question in load_questions(data, QuestionScope(limit=2))] == every[:4]


def test_a_saved_model_is_scored_and_files_are_written(data, model_folder, tmp_path):
    config = EvaluationConfig(
        model_folder, data.location, tmp_path / "out", HORIZONTAL, Decoding(batch_size=3, max_new_tokens=8)
    )
    result = evaluate(config, QUIET)
    written = orjson.loads(result.scores_path.read_bytes())
    assert (written["data_set"], written["answers_to_other_questions"]) == (data.manifest.id, 0)
    (row,) = written["rows"]
    assert (row["task"], row["source"], row["images"], row["protocol"]) == (
        "detection-hbb", "toy", 4, "detection-hbb/f1-50",
    )  # fmt: skip
    assert row["failures"]["cut_off"] == row["failed"] == 4
    lines = [json.loads(line) for line in result.answers_path.read_text().splitlines()]
    assert len(lines) == 4 and all(line["id"].startswith("toy/test/") for line in lines)
    assert {line["finish_reason"] for line in lines} == {"length"}
    with Image.open(result.picture_path) as picture:
        assert np.asarray(picture).std() > 1
    told = describe_scores(result)
    assert "detection-hbb/f1-50" in told and "cut off 4" in told and str(result.scores_path) in told
    one_by_one = Decoding(batch_size=1, max_new_tokens=8)
    again = evaluate(EvaluationConfig(model_folder, data.location, tmp_path / "two", HORIZONTAL, one_by_one), QUIET)
    assert again.answers_path.read_bytes() == result.answers_path.read_bytes()
    rescored = rescore(RescoreConfig(result.answers_path, data.location, tmp_path / "three", HORIZONTAL))
    assert rescored.rows == result.rows


def test_constrained_answers_keep_the_grammar_and_the_scores_say_so(data, model_folder, tmp_path):
    def run(name, constrained):
        decoding = Decoding(max_new_tokens=16, constrained=constrained)
        scope = QuestionScope(tasks=("detection-hbb",), limit=2)
        return evaluate(EvaluationConfig(model_folder, data.location, tmp_path / name, scope, decoding), QUIET)

    free, kept = run("free", False), run("kept", True)
    assert "unconstrained" in orjson.loads(free.scores_path.read_bytes())["decoding"]
    assert "constrained to the answer grammar" in orjson.loads(kept.scores_path.read_bytes())["decoding"]
    answers = [[answer.text for answer in read_answers(result.answers_path)] for result in (free, kept)]
    assert [answer.startswith("There ") for answer in answers[1]] == [True, True]
    assert not any(answer.startswith("There ") for answer in answers[0])


def test_a_folder_without_a_model(data, tmp_path):
    with pytest.raises(UserError, match="holds no model"):
        evaluate(EvaluationConfig(tmp_path, data.location, tmp_path / "out"), QUIET)


def test_answers_of_others_need_an_id_and_a_text_and_what_nobody_answered_counts(data, tmp_path):
    questions = load_questions(data, HORIZONTAL)
    lines = [json.dumps({"id": q.id, "text": perfect(q), "score": 0.5}) for q in questions[1:]]
    path = tmp_path / "theirs.jsonl"
    path.write_text("\n".join([*reversed(lines), "", json.dumps({"id": "other/test/1#vqa", "text": "yes"})]))
    result = rescore(RescoreConfig(path, data.location, tmp_path / "out", HORIZONTAL))
    (row,) = result.rows
    missed = len(questions[0].record.objects)
    assert row.failures == {"missing": 1} and row.details["false_negatives"] == missed and row.details["precision"] == 1
    assert orjson.loads(result.scores_path.read_bytes())["answers_to_other_questions"] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("{", "line 1"),
        ('{"id": "a"}', "text"),
        ('{"id": "a", "text": "x", "finish_reason": "tired"}', "finish_reason"),
        ('{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}', "line 2: a second answer to a"),
        ('{"id": "a", "text": "x"}', "no answer is to a question that is asked"),
    ],
)
def test_files_that_are_no_answers_teach(data, tmp_path, content, message):
    path = tmp_path / "answers.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=message):
        rescore(RescoreConfig(path, data.location, tmp_path / "out", HORIZONTAL))
    assert not (tmp_path / "out").exists()


def test_written_answers_come_back(tmp_path):
    answers = [Answer("a", "two\nlines \u2028 é", "p", "stop"), Answer("b", "", "p", "length")]
    write_answers(tmp_path / "answers.jsonl", answers)
    assert read_answers(tmp_path / "answers.jsonl") == answers


def test_classification_is_scored_by_its_record():
    record = Record(
        id="s/test/1", source="s", split="test", sensor="optical", licence="x", label="golf course",
        image={"width": 8, "height": 8, "mode": "RGB", "sha256": "0" * 64},
    )  # fmt: skip
    task, form = find_task("classification"), AnswerForm(("golf course", "harbor"), None)
    questions = []
    for number, label in enumerate(["golf course", "golf course", "harbor"]):
        each = record.model_copy(update={"label": label, "id": f"s/test/{number}"})
        ((prompt, truth),) = task.ask(each, form)
        questions.append(Question(f"{each.id}#classification", "classification", prompt, truth, each, form, {}))
    row = score_one(questions, ["Golf_Course.", "harbor", "a big harbor"])
    assert (row.metric, row.value, row.failures) == ("accuracy", pytest.approx(1 / 3), {"outside_class_list": 1})
    assert (row.constant_value, row.constant_answers) == (pytest.approx(2 / 3), {"golf course": 3})
    assert row.details["mean_class_accuracy"] == 0.25
    assert list(task.ask(record.model_copy(update={"label": None}), form)) == []


def test_the_command_scores_answers_and_teaches(data, tmp_path):
    questions = load_questions(data, HORIZONTAL)
    path, out = tmp_path / "answers.jsonl", tmp_path / "out"
    write_answers(path, [Answer(question.id, perfect(question)) for question in questions])

    def mmrs(*words):
        return CliRunner().invoke(main, ["--quiet", "score", *map(str, words), "--out", str(out)])

    done = mmrs(path, data.location, "--task", "detection-hbb", "--protocol", "detection-hbb/f1-25")
    assert done.exit_code == 0 and "detection-hbb/f1-25" in done.output, done.output
    (row,) = orjson.loads((out / "scores.json").read_bytes())["rows"]
    assert (row["value"], row["questions"]) == (1, 4)
    done = mmrs(path, data.location, "--protocol", "f1")
    assert done.exit_code == 2 and "choose from classification/exact" in done.output
