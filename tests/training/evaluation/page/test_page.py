"""The page of an evaluation: self-contained, escaped, with examples of every failure; filtered in a real browser."""

import json
import re

import numpy as np
import pytest
from PIL import Image, ImageColor

from tests.support.browser import BROWSER, ask_page, screenshot
from training.evaluation.canvas import PREDICTED_COLOUR, TRUE_COLOUR
from training.evaluation.page.markup import panel_html
from training.evaluation.panels import CalibrationPanel, MatrixPanel, TablePanel
from training.evaluation.questions import QuestionScope, load_questions
from training.evaluation.rescore import RescoreConfig, rescore
from training.evaluation.tasks import find_task

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>&'
SCOPE = QuestionScope(tasks=("detection-hbb", "detection-obb"))


@pytest.fixture(scope="module")
def result(data, tmp_path_factory):
    """Answers of which some are right and some fail, each in another way."""
    folder = tmp_path_factory.mktemp("page")
    lines = []
    for number, question in enumerate(load_questions(data, SCOPE)):
        right = find_task(question.task).reference(question)
        text = [right, HOSTILE, "", right[: len(right) // 2]][number // 2]
        boxes = right.count(";") + right.count("[") if text == right else 0
        lines.append({"id": question.id, "text": text} | ({"box_log_probabilities": [-0.2] * boxes} if boxes else {}))
    (folder / "answers.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return rescore(RescoreConfig(folder / "answers.jsonl", data.location, folder / "out", SCOPE))


@pytest.fixture(scope="module")
def page(result):
    return result.page_path.read_text()


def test_nothing_is_fetched_and_nothing_runs(page):
    assert "default-src 'none'; img-src data:" in page.replace("&#x27;", "'")
    assert "<script" not in page and not re.search(r"<[^>]*\bon\w+=", page)
    assert all(
        link.startswith(("data:image/jpeg;base64,", "#")) for link in re.findall(r'(?:src|href)="([^"]*)"', page)
    )


def test_values_failures_and_rules_are_on_it(page, result):
    for row in result.rows:
        assert row.protocol in page and f"{row.value:.3f}" in page and row.rule in page
        assert all(f"f-{reason.replace('_', '-')}" in page for reason in row.failures)
    assert "By class, at IoU 0.5" in page and "Confidence of boxes" in page


def test_every_answer_of_a_small_set_is_shown_once(page):
    shown = re.findall(r"<figcaption>([^<]*)<br>", page)
    assert len(shown) == len(set(shown)) == 8


def test_what_is_said_is_escaped(page):
    assert "&lt;script&gt;alert(1)" in page


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_in_a_browser(result, tmp_path):
    """A reason hides the other examples; boxes are on the screen; nothing is wider than a phone."""
    group = "of-detection-hbb-toy"
    read = f"""(() => {{
        const shown = () => [...document.querySelectorAll("#{group} .card")].filter(card => card.offsetHeight).length;
        const before = shown();
        document.getElementById("{group}-f-empty").checked = true;
        return [before, shown(), document.scripts.length, document.documentElement.scrollWidth <= innerWidth];
    }})()"""
    before, after, scripts, fits = ask_page(result.page_path, read, tmp_path, width=500)
    assert (before, after, scripts, fits) == (4, 1, 1, True)
    screenshot(result.page_path, tmp_path / "page.png", 1200, 3000)
    with Image.open(tmp_path / "page.png") as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    for colour in (TRUE_COLOUR, PREDICTED_COLOUR):
        assert (pixels == ImageColor.getrgb(colour)).all(axis=1).sum() > 50


def test_panels_show_what_is_undefined_and_escape_names():
    table = panel_html(TablePanel("T<", ("a", "share"), [["x&y", 0.25], ["z", None]], shares=("share",)))
    assert "T&lt;" in table and "x&amp;y" in table and "--part: 25%" in table and "undefined" in table
    matrix = panel_html(MatrixPanel("M", ["<a>"], ["<a>", "b"], [[3, 1]]))
    assert 'title="&lt;a&gt; answered as b: 1 of 4"' in matrix and 'class="own"' in matrix
    assert "2 boxes, confidence 0.90, right 0.50" in panel_html(CalibrationPanel("C", [(0.9, 0.5, 2)]))
