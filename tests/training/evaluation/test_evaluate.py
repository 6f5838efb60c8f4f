"""Evaluation end to end on a model that answers as told, and on a real tiny one."""

import json

import numpy as np
import orjson
import pytest
from PIL import Image

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.errors import UserError
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from tests.support.sources import toy_build, write_toy
from training.evaluation.questions import load_questions
from training.evaluation.run import EvaluationConfig, evaluate
from training.evaluation.scores import score
from training.model import EarthGPTImageProcessor, EarthGPTProcessor, initialise, preset, train_tokenizer

QUIET = Progress(quiet=True)
CATEGORIES = {"toy": ("car", "ship")}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    write_toy(folder / "toy", images=12)
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}]})
    build(plan_build([toy_build(folder / "toy")], recipe, 1, QUIET), recipe, folder / "out", 1, QUIET)
    return ShardSet(folder / "out")


@pytest.mark.parametrize("task", ["detection-hbb", "detection-obb"])
def test_the_reference_answers_score_one(data, task):
    questions = load_questions(data, "test", None, [task], None)
    assert len(questions) == 4
    scores = score(questions, [question.reference for question in questions], CATEGORIES)[task]["toy"]
    assert (scores["f1"], scores["count_accuracy"], scores["malformed_boxes"]) == (1, 1, 0)
    assert scores["mean_best_iou"] > 0.97


def test_wrong_and_unreadable_answers_score_nothing_and_stay_in_the_denominator(data):
    questions = load_questions(data, "test", None, ["detection-hbb"], None)
    answers = [
        "There are <p>two cars</p>[0.1,0.2;x] in the image.",
        "",
        "nonsense",
        "There are no objects in the image.",
    ]
    scores = score(questions, answers, CATEGORIES)["detection-hbb"]["toy"]
    total = sum(len(question.record.objects) for question in questions)
    assert (scores["f1"], scores["false_negatives"], scores["false_positives"]) == (0, total, 2)


def test_other_categories_names_do_not_help(data):
    questions = load_questions(data, "test", None, ["detection-hbb"], None)
    swapped = [q.reference.replace("car", "boat").replace("ship", "car").replace("boat", "ship") for q in questions]
    scores = score(questions, swapped, CATEGORIES)["detection-hbb"]["toy"]
    assert scores["f1"] < 0.2 and scores["f1_class_agnostic"] == 1


def test_unknown_tasks_and_splits_teach(data):
    with pytest.raises(UserError, match="no scorer"):
        load_questions(data, "test", None, ["captioning"], None)
    with pytest.raises(UserError, match="it has toy/test, toy/train"):
        load_questions(data, "dev", None, ["detection-hbb"], None)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer(["Please detect all objects in this image. There are [0.123,0.456]"], 320)
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    config = preset("tiny", vocab_size=len(tokenizer), image_token_id=image_token_id, **ids)
    initialise(config, 0).save_pretrained(folder)
    EarthGPTProcessor(EarthGPTImageProcessor(config.image_size), tokenizer, config.image_slots).save_pretrained(folder)
    return folder


def test_a_saved_model_is_scored_and_files_are_written(data, model_folder, tmp_path):
    config = EvaluationConfig(model_folder, data.location, tmp_path / "out", max_new_tokens=8, batch_size=3)
    result = evaluate(config, QUIET)
    written = orjson.loads(result.scores_path.read_bytes())
    assert written["data_set"] == data.manifest.id
    assert written["scores"]["detection-hbb"]["toy"]["images"] == 4
    lines = [json.loads(line) for line in result.predictions_path.read_text().splitlines()]
    assert len(lines) == 4 and all(line["id"].startswith("toy/test/") for line in lines)
    with Image.open(result.picture_path) as picture:
        assert np.asarray(picture).std() > 1
    again = evaluate(
        config.__class__(model_folder, data.location, tmp_path / "two", max_new_tokens=8, batch_size=1), QUIET
    )
    assert again.predictions_path.read_bytes() == result.predictions_path.read_bytes()


def test_constrained_answers_keep_the_grammar_and_the_scores_say_so(data, model_folder, tmp_path):
    options = {"limit": 2, "max_new_tokens": 16}
    free = evaluate(EvaluationConfig(model_folder, data.location, tmp_path / "free", **options), QUIET)
    options["constrained"] = True
    kept = evaluate(EvaluationConfig(model_folder, data.location, tmp_path / "kept", **options), QUIET)
    assert "unconstrained" in free.scores["protocol"]
    assert "constrained to the answer grammar" in kept.scores["protocol"]
    answers = [
        [json.loads(line)["answer"] for line in result.predictions_path.read_text().splitlines()]
        for result in (free, kept)
    ]
    assert [answer.startswith("There ") for answer in answers[1]] == [True, True]
    assert not any(answer.startswith("There ") for answer in answers[0])


def test_a_folder_without_a_model(data, tmp_path):
    with pytest.raises(UserError, match="holds no model"):
        evaluate(EvaluationConfig(tmp_path, data.location, tmp_path / "out"), QUIET)
