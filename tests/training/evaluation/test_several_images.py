"""Questions about several images: asked with all of them, answered as one call a question does, shown on the page."""

import json

import pytest
import torch
from click.testing import CliRunner

from cli import main
from mmrs.shards.reader import ShardSet
from tests.support.models import save_tiny_model
from tests.support.pairs import built_pairs
from training.evaluation.generate import Decoding, generate_answers, plan_batches
from training.evaluation.questions import QuestionScope, load_questions, question_images
from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor

COUNTS = (2, 1, 3, 2, 2)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return ShardSet(built_pairs(tmp_path_factory.mktemp("pairs"), COUNTS))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("batch_size", [1, 4])
def test_answers_are_those_of_one_call_a_question(pairs, tiny, batch_size):
    model = EarthGPTForConditionalGeneration.from_pretrained(tiny).eval()
    processor = EarthGPTProcessor.from_pretrained(tiny)
    questions = load_questions(pairs, QuestionScope())
    assert {question.task for question in questions} == {"captioning", "vqa"}
    decoding = Decoding(batch_size=batch_size, max_new_tokens=8)
    for batch in plan_batches(questions, processor, decoding):
        assert len({len(question.record.images) for question in batch.questions}) == 1
    answers = generate_answers(model, processor, pairs, questions, decoding, lambda count: None)
    alone = []
    for question in questions:
        images = question_images(pairs, question)
        assert len(images) == len(question.record.images)
        inputs = processor(images=[images], text=[question.prompt])
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=8, do_sample=False)
        alone.append(processor.decode_answers(output, inputs["input_ids"].shape[1])[0])
    assert [answer.text for answer in answers] == alone
    assert len(set(alone)) > 1


def test_the_command_scores_captions_and_answers_of_pairs(pairs, tiny, tmp_path):
    done = CliRunner().invoke(
        main, ["eval", str(tiny), str(pairs.location), "--out", str(tmp_path / "out"), "--batch-size", "4"]
    )
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in (tmp_path / "out" / "answers.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * len(COUNTS)
    (page,) = (tmp_path / "out").glob("*.html")
    # A card shows all images of its question.
    assert page.read_text().count('<image href="data:image/jpeg') >= sum(COUNTS)
