"""Suites: the shipped ones are sound, what is missing is said, values have their unit, leaks are taken out."""

import json

import pytest
import yaml
from click.testing import CliRunner

from cli import main
from converters.catalog import names
from mmrs.errors import UserError
from mmrs.progress import Progress
from training.evaluation.questions import load_questions
from training.evaluation.rescore import RescoreConfig, rescore
from training.evaluation.suites.run import TrainingData, describe_suite, run_suite
from training.evaluation.suites.suite import load_suite, suite_names
from training.evaluation.tasks import find_task

QUIET = Progress(quiet=True)


def test_the_shipped_suites_name_sources_tasks_and_protocols_that_exist():
    assert suite_names() == ["paper", "sensors", "zero-shot"]
    for name in suite_names():
        suite = load_suite(name)
        assert {benchmark.source for benchmark in suite.benchmarks} <= set(names())
        for benchmark in suite.benchmarks:
            for known in (benchmark.earthgpt, benchmark.best):
                assert known is None or (known.year >= 2024 and known.source)


def written(folder, **changes):
    benchmark = {
        "name": "Toy", "source": "toy", "task": "detection-hbb", "protocol": "detection-hbb/f1-50", "metric": "F1",
        "best": {"value": 50.0, "who": "Somebody", "year": 2025, "source": "a paper"},
    }  # fmt: skip
    absent = benchmark | {"name": "Ships", "source": "ssdd"}
    detail = benchmark | {"name": "Toy recall", "detail": "by_class/car/recall", "metric": "recall of cars"}
    content = {"title": "Test", "about": "A test.", "benchmarks": [benchmark | changes, absent, detail]}
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def by_reference(data, folder):
    """Answers: all right."""

    def evaluate(scope, protocols, out):
        out.mkdir(parents=True)
        lines = [
            json.dumps({"id": question.id, "text": find_task(question.task).reference(question)})
            for question in load_questions(data, scope)
        ]
        (out / "answers.jsonl").write_text("\n".join(lines))
        return rescore(RescoreConfig(out / "answers.jsonl", data.location, out, scope, protocols))

    return evaluate


def test_values_have_the_published_unit_and_what_is_missing_says_how_to_get_it(data, tmp_path):
    suite = load_suite(written(tmp_path))
    rows = run_suite(suite, data, TrainingData(), by_reference(data, tmp_path), tmp_path / "out", QUIET)
    assert [row.value for row in rows] == [100, None, 100]
    assert rows[0].interval_95 == (100, 100) and rows[2].interval_95 is None
    assert "mmrs build ssdd --root ssdd=DIR" in rows[1].missing
    told = describe_suite(suite, rows, TrainingData())
    assert "50 (2025)" in told and "Somebody 2025: a paper" in told and "--trained-on" in told
    assert json.loads((tmp_path / "out" / "suite.json").read_text())["rows"][0]["value"] == 100


def test_leaked_images_are_counted_and_left_out_of_a_second_value(data, tmp_path, monkeypatch):
    from mmrs.curation.leaks import Leaks

    (leaked, *rest) = data.table("test")["id"].to_pylist()
    monkeypatch.setattr("training.evaluation.suites.run.find_leaks", lambda *given: Leaks({leaked: "toy/train/a"}, {}))
    suite = load_suite(written(tmp_path))
    trained = TrainingData((data,), (data.manifest.id, "f" * 64))
    rows = run_suite(suite, data, trained, by_reference(data, tmp_path), tmp_path / "out", QUIET)
    assert (rows[0].leaked_images, rows[0].images, rows[0].value_without_leaked) == (1, len(rest) + 1, 100)
    assert "not looked at for leaks: trained on data set ffffffffffffffff" in describe_suite(suite, rows, trained)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": "detection-obb/f1-50"}, "detection-obb/f1-50 is no protocol of detection-hbb"),
        ({"protocol": "f1"}, "protocol 'f1' is not known"),
        ({"task": "detect"}, "task 'detect' has no scorer"),
        ({"year": 3}, "year"),
    ],
)
def test_faulty_suites_teach(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        load_suite(written(tmp_path, **change))


def test_unknown_suites_and_data_without_any_benchmark(data, tmp_path):
    with pytest.raises(UserError, match=r"did you mean 'paper'.*choose paper, sensors, zero-shot"):
        load_suite("papr")
    with pytest.raises(UserError, match="has no benchmark of the suite"):
        run_suite(load_suite("sensors"), data, TrainingData(), by_reference(data, tmp_path), tmp_path / "out", QUIET)


def test_the_command_runs_a_suite_and_refuses_two_scopes(data, model_folder, tmp_path):
    words = ["--quiet", "eval", str(model_folder), str(data.location), "--suite", written(tmp_path)]
    words += ["--max-new-tokens", "4", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert "leaks unknown" in done.output and (tmp_path / "out" / "test" / "answers.jsonl").exists()
    refused = CliRunner().invoke(main, [*words, "--task", "detection-hbb"])
    assert isinstance(refused.exception, UserError | SystemExit) and refused.exit_code != 0
