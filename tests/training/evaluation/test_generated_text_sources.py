"""Every generated source with captions, questions or regions: reference answers score the most, in any order."""

import random

import pytest

import converters
from converters import samples
from tests.support.questions import answer, ask, make_record
from training.evaluation.scores import score
from training.evaluation.tasks import find_task

CAPTIONED = ("ucm-captions", "sydney-captions", "rsicd", "rsitmd", "nwpu-captions")
ASKED = ("rsvqa-lr", "rsvqa-hr", "crsvqa", "floodnet", "rsivqa")
RSVQA = ("rsvqa/authors", "rsvqa/three-types-oa", "rsvqa/three-types-aa", "vqa/by-type")
SOURCES = [
    *((source, "captioning", ("captions/ptb-py",)) for source in CAPTIONED),
    *((source, "vqa", RSVQA) for source in ASKED),
    ("dior-rsvg", "region-captioning", ("region-captions/ptb-py",)),
]


def records_of(source, root):
    """The records of all splits, without their images."""
    samples.write(source, root)
    converter = converters.get(source)
    for split in converter.splits:
        for item in converter.discover(root, split).items:
            known = converter.read(item)
            fields = {name: getattr(known, name) for name in ("objects", "captions", "questions", "metadata")}
            expressions = [(expression.text, expression.object) for expression in known.expressions]
            record = make_record("x", expressions=expressions, **fields)
            yield record.model_copy(update={"id": f"{source}/{split}/{item.stem}", "source": source})


# One of each kind with each change; the others differ in their rows.
QUICK = {"ucm-captions", "rsvqa-lr", "floodnet", "dior-rsvg"}


@pytest.fixture(
    params=[pytest.param(case, id=case[0], marks=() if case[0] in QUICK else pytest.mark.nightly) for case in SOURCES]
)
def case(request, tmp_path):
    """(questions, protocols) of a source's sample."""
    source, task, protocols = request.param
    return ask(task, list(records_of(source, tmp_path))), protocols


def test_references_score_the_most_in_any_order_and_a_constant_what_the_table_says(case):
    questions, protocols = case
    task = find_task(questions[0].task)
    right = answer(questions, [task.reference(question) for question in questions])
    rows = score(right, protocols)
    assert rows and all(row.failed == 0 for row in rows)
    assert score(random.Random(0).sample(right, len(right)), protocols) == rows
    constant = score(answer(questions, task.constant_answers(questions)), protocols)
    for row, blind in zip(rows, constant, strict=True):
        assert blind.value == row.constant_value == blind.constant_value
        assert row.constant_value is None or row.constant_value < row.value
        if row.metric == "cider":
            assert [row.details[name] for name in ("bleu_1", "rouge_l")] == pytest.approx([1, 1], abs=1e-6)
        else:
            assert row.value == 1
