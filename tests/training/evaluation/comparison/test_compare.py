"""Two runs: paired intervals against the definition, runs that cannot be compared, the page."""

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner

from cli import main
from mmrs.errors import UserError
from tests.support.browser import BROWSER, ask_page
from training.evaluation.comparison.compare import _paired, compare, describe_comparison
from training.evaluation.metrics.intervals import ratio
from training.evaluation.questions import QuestionScope, load_questions
from training.evaluation.rescore import RescoreConfig, rescore
from training.evaluation.task import ImageSums
from training.evaluation.tasks import find_task

SCOPE = QuestionScope(tasks=("detection-hbb",))
PROTOCOLS = ("detection-hbb/f1-50", "detection-hbb/ap-nc-50")


def run(data, folder, right):
    """A scored run that answers the first `right` questions right and sees nothing in the others."""
    folder.mkdir()
    lines = []
    for number, question in enumerate(load_questions(data, SCOPE)):
        text = find_task(question.task).reference(question) if number < right else "There are no objects in the image."
        lines.append(json.dumps({"id": question.id, "text": text}))
    (folder / "answers.jsonl").write_text("\n".join(lines))
    rescore(RescoreConfig(folder / "answers.jsonl", data.location, folder, SCOPE, PROTOCOLS))
    return folder


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return run(data, folder / "one", 1), run(data, folder / "three", 3)


def test_values_and_differences(data, runs, tmp_path):
    result = compare(*runs, data.location, tmp_path / "page.html")
    f1, ap = result.rows
    assert (f1.protocol, ap.protocol) == PROTOCOLS
    assert 0 < f1.first < f1.second < 1 and f1.difference == f1.second - f1.first
    assert f1.interval_95[0] <= f1.difference <= f1.interval_95[1] and ap.interval_95 is None
    told = describe_comparison(result)
    assert f"{f1.difference:+.3f}" in told and "no function of sums" in told and str(tmp_path / "page.html") in told


def test_a_run_does_not_differ_from_itself(data, runs, tmp_path):
    (f1, _) = compare(runs[0], runs[0], data.location, tmp_path / "page.html").rows
    assert (f1.difference, f1.interval_95) == (0, (0, 0))


def test_pairs_are_drawn_together():
    """Two runs that differ on few images: the paired interval is the bootstrap of the differences, and narrow."""
    generator = np.random.default_rng(0)
    first = (generator.random(300) < 0.5).astype(float)
    second = first.copy()
    second[:12] = 1
    ones, names = np.ones(300), tuple(map(str, range(300)))
    interval = _paired(
        ImageSums(names, np.column_stack([first, ones]), ratio),
        ImageSums(names, np.column_stack([second, ones]), ratio),
    )
    drawn = [(second - first)[generator.integers(0, 300, 300)].mean() for _ in range(4000)]
    assert interval == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=0.004)
    assert interval[1] - interval[0] < 0.05


def test_other_questions_and_other_data_are_not_compared(data, runs, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    scores = json.loads((runs[0] / "scores.json").read_text())
    (other / "scores.json").write_text(json.dumps(scores | {"scope": scores["scope"] | {"limit": 2}}))
    with pytest.raises(UserError, match="answer different questions: limit is None and 2"):
        compare(runs[0], other, data.location, tmp_path / "page.html")
    (other / "scores.json").write_text(json.dumps(scores | {"data_set": "0" * 64}))
    with pytest.raises(UserError, match="was scored on data set 0000000000000000"):
        compare(runs[0], other, data.location, tmp_path / "page.html")
    (other / "scores.json").write_text("[]")
    with pytest.raises(UserError, match=r"no scores\.json of `mmrs eval`"):
        compare(runs[0], other, data.location, tmp_path / "page.html")


def test_the_command_writes_a_page_of_what_differs(data, runs, tmp_path):
    page = tmp_path / "page.html"
    done = CliRunner().invoke(main, ["compare", *map(str, runs), str(data.location), "--out", str(page)])
    assert done.exit_code == 0, done.output
    text = page.read_text()
    assert "2 are better in three, 0 in one, and 2 as right in both" in text
    assert len(re.findall("<figure", text)) == 2 and "<script" not in text


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_in_a_browser(data, runs, tmp_path):
    compare(*runs, data.location, tmp_path / "page.html")
    read = "[document.querySelectorAll('.two svg').length, document.documentElement.scrollWidth <= innerWidth]"
    assert ask_page(tmp_path / "page.html", read, tmp_path, width=500) == [4, True]
