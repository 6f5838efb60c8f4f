"""Another task is one object and its registration: captions, asked, answered, scored, drawn and on the model card."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from mmrs import record as record_module
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.errors import UserError
from mmrs.instructions import prompts
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from mmrs.source import SourceBuild
from tests.support.sources import ToySource, write_toy
from training.evaluation import tasks
from training.evaluation.generate import Decoding
from training.evaluation.metrics import bootstrap_interval, sum_by_image
from training.evaluation.questions import QuestionScope, load_questions
from training.evaluation.rescore import RescoreConfig, rescore
from training.evaluation.run import EvaluationConfig, evaluate
from training.evaluation.task import Protocol, Scores, Task, Truth
from training.evaluation.tasks import find_task
from training.evaluation.tasks.classification import Classification
from training.model.export.export import read_scores
from training.model.origin.card import model_card

ROOT = Path(__file__).parents[3]
QUIET = Progress(quiet=True)
CAPTIONS = QuestionScope(tasks=("captioning",))


class Captioning(Task[Truth]):
    """Captions by the share of their words that a reference has: a toy, no metric of the field."""

    name = "captioning"
    max_new_tokens = 8

    @property
    def protocols(self):
        return (Protocol("captioning/words", "word_precision", "words of the answer that a reference has", self.score),)

    def ask(self, record, form):
        if record.captions:
            yield prompts.CAPTIONING, Truth(" / ".join(record.captions))

    def failures(self, answered):
        return [] if answered.answer.text.isascii() else ["not_ascii"]

    def constant_answers(self, questions):
        return ["a ship on water"] * len(questions)

    def is_wrong(self, answered):
        return not self.overlap(answered)[0]

    def draw(self, canvas, answered):
        canvas.outline_truth([[(2, 2), (30, 2), (30, 20), (2, 20)]])

    def score(self, pairs):
        rows = sum_by_image([pair.question.record.id for pair in pairs], [self.overlap(pair) for pair in pairs])

        def share(values):
            return float(values[:, 0].sum() / max(1, values[:, 1].sum()))

        return Scores(share(rows), bootstrap_interval(rows, share), {"words": int(rows[:, 1].sum())})

    @staticmethod
    def overlap(pair):
        said, known = pair.answer.text.lower().split(), pair.question.truth.text.lower().split()
        return sum(word in known for word in said), len(said)


class CaptionSource(ToySource):
    """The toy source, with two captions for each image."""

    def read(self, item):
        found = super().read(item)
        captions = tuple(f"{number} {found.objects[0].category}s on grey water" for number in ("some", "many"))
        return found.model_copy(update={"captions": captions})


@pytest.fixture(scope="module", autouse=True)
def captioning():
    with pytest.MonkeyPatch.context() as patch:
        others = {name: task for name, task in tasks._REGISTERED.items() if name != Captioning.name}
        patch.setattr(tasks, "_REGISTERED", others)
        tasks.register_task(Captioning())
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captions")
    write_toy(folder / "toy", images=12)
    source = CaptionSource(tasks=("captioning", "detection-hbb"))
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}]})
    builds = [SourceBuild(source, folder / "toy", ("train", "test"))]
    build(plan_build(builds, recipe, 1, QUIET), recipe, folder / "out", 1, QUIET)
    return ShardSet(folder / "out")


@pytest.fixture(scope="module")
def evaluated(data, model_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluated")
    return evaluate(EvaluationConfig(model_folder, data.location, out, decoding=Decoding(max_new_tokens=8)), QUIET)


def test_it_is_asked_by_default_once_an_image(data):
    questions = load_questions(data, QuestionScope())
    assert [question.task for question in questions[:2]] == ["detection-hbb", "captioning"]
    captions = [question for question in questions if question.task == "captioning"]
    assert len(captions) == 4 and all(" / " in question.truth.text for question in captions)


def test_it_has_rows_beside_the_others(evaluated):
    assert [(row.task, row.metric, row.questions) for row in evaluated.rows] == [
        ("captioning", "word_precision", 4),
        ("detection-hbb", "f1", 4),
    ]


def test_answers_of_anybody_are_scored_and_drawn(data, tmp_path):
    questions = load_questions(data, CAPTIONS)
    texts = [question.truth.text.split(" / ")[0] for question in questions[:3]] + ["eine Straße"]
    lines = [json.dumps({"id": q.id, "text": text}) for q, text in zip(questions, texts, strict=True)]
    (tmp_path / "answers.jsonl").write_text("\n".join(lines))
    result = rescore(RescoreConfig(tmp_path / "answers.jsonl", data.location, tmp_path / "out", CAPTIONS))
    (row,) = result.rows
    assert (row.value, row.failures, row.details) == (15 / 17, {"not_ascii": 1}, {"words": 17})
    assert row.interval_95[0] < row.value <= row.interval_95[1] and 0 < row.constant_value < row.value
    with Image.open(result.picture_path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    green = (pixels[:300] == (0x2C, 0xA0, 0x2C)).all(-1)
    assert green.sum() > 100


def test_it_stands_on_the_model_card(evaluated, make_tiny_config):
    rows = read_scores(evaluated.scores_path)
    make_tiny_config.origin = {"scores": rows}
    card = model_card(make_tiny_config)
    assert "| toy test | captioning/words | word_precision | " in card
    assert "| toy test | detection-hbb/f1-50 | f1 | " in card


@pytest.fixture
def make_tiny_config(model_folder):
    from training.model import EarthGPTConfig

    return EarthGPTConfig.from_pretrained(model_folder)


def test_names_of_tasks_and_protocols_are_taken_once():
    with pytest.raises(ValueError, match="'captioning' already"):
        tasks.register_task(Captioning())
    with pytest.raises(UserError, match=r"classification, detection-hbb, detection-obb, .*captioning"):
        tasks.find_task("segmentation")

    class Other(Classification):
        name = "another"
        protocols = find_task("classification").protocols

    with pytest.raises(ValueError, match="'classification/exact' already"):
        tasks.register_task(Other())


def test_no_code_outside_the_tasks_knows_one_by_name():
    names = set(get_args(record_module.TaskName))
    places = [
        *(ROOT / "training" / "evaluation").glob("*.py"),
        *(ROOT / "training" / "run").rglob("*.py"),
        *(ROOT / "training" / "model" / "export").rglob("*.py"),
        *(ROOT / "training" / "model" / "origin").rglob("*.py"),
        *(ROOT / "training" / "commands").rglob("*.py"),
        ROOT / "training" / "evaluation" / "tasks" / "__init__.py",
        ROOT / "cli.py",
    ]
    assert len(places) > 20
    for path in places:
        named = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        assert not names & set(filter(lambda value: isinstance(value, str), named)), path


def test_no_code_compares_a_task_by_name():
    """Also where tables of tasks are allowed, as in the augmentation: a task is looked up, never asked for."""
    names = set(get_args(record_module.TaskName))
    for path in (ROOT / "training").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                compared = {each.value for each in ast.walk(node) if isinstance(each, ast.Constant)}
                assert not names & {value for value in compared if isinstance(value, str)}, f"{path}:{node.lineno}"


def test_evaluation_knows_neither_the_run_nor_the_step():
    for path in (ROOT / "training" / "evaluation").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any(name.startswith(("training.run", "training.step", "training.config")) for name in modules), (
                path
            )
