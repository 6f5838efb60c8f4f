"""Answers do not depend on how they are come by: shared prefixes, batches, processes, kills. And how sure they are."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmrs.errors import UserError
from mmrs.geometry import SquareFrame
from mmrs.instructions.answers import box_spans, parse_detections
from mmrs.instructions.dialects import DIALECTS
from mmrs.progress import Progress
from training.evaluation import generate
from training.evaluation.answer_parts import AnswerFolder
from training.evaluation.generate import AnswerGenerator, Decoding, generate_answers, plan_batches
from training.evaluation.questions import QuestionScope, load_questions, question_image
from training.evaluation.run import EvaluationConfig, evaluate
from training.evaluation.task import Answer
from training.evaluation.tasks import find_task
from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor

QUIET = Progress(quiet=True)
MANY = QuestionScope(tasks=("detection-hbb", "detection-obb", "referring", "counting"))
SHORT = Decoding(batch_size=5, max_new_tokens=12)


@pytest.fixture(scope="module")
def model(model_folder):
    return EarthGPTForConditionalGeneration.from_pretrained(model_folder).eval()


@pytest.fixture(scope="module")
def processor(model_folder):
    return EarthGPTProcessor.from_pretrained(model_folder)


def alone(model, processor, data, question, tokens):
    """The plain way: one prompt with its image, one call of `generate`."""
    inputs = processor(images=[question_image(data, question)], text=[question.prompt])
    with torch.inference_mode():
        output = model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
    return processor.decode_answers(output, inputs["input_ids"].shape[1])[0]


@pytest.fixture(scope="module")
def one_by_one(data, model, processor):
    return [alone(model, processor, data, question, 12) for question in load_questions(data, MANY)]


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_shared_prefixes_give_the_answers_of_one_call_a_question(data, model, processor, one_by_one, batch_size):
    questions = load_questions(data, MANY)
    assert len(questions) > 2 * len({question.record.id for question in questions})
    decoding = Decoding(batch_size=batch_size, max_new_tokens=12)
    answers = generate_answers(model, processor, data, questions, decoding, lambda count: None)
    assert [answer.id for answer in answers] == [question.id for question in questions]
    assert [answer.text for answer in answers] == one_by_one
    assert len({answer.text for answer in answers}) > 3


def test_an_image_is_encoded_once_for_all_of_its_questions(data, model, processor, monkeypatch):
    (first, *_), encoded = load_questions(data, MANY), []
    questions = [replace(first, id=f"{first.id}-{n}", prompt=f"Question {n}?") for n in range(50)]
    features = model.model.get_image_features

    def counted(self, pixels, **options):
        encoded.append(len(pixels))
        return features(pixels, **options)

    monkeypatch.setattr(type(model.model), "get_image_features", counted)
    generate_answers(model, processor, data, questions, Decoding(8, 2), lambda count: None)
    assert encoded == [1]


def counted_rows(monkeypatch, model):
    """Positions of each call of the language model, as they come: (rows, positions) each."""
    calls = []
    forward = type(model.language_model).forward

    def counted(self, *given, **options):
        calls.append(tuple(options["inputs_embeds"].shape[:2]))
        return forward(self, *given, **options)

    monkeypatch.setattr(type(model.language_model), "forward", counted)
    return calls


def test_images_that_span_batches_are_encoded_once(data, model, processor, monkeypatch):
    chosen = list({question.record.id: question for question in load_questions(data, MANY)}.values())[:3]
    questions = [replace(each, id=f"{each.id}-{n}", prompt=f"Question {n}?") for each in chosen for n in range(10)]
    questions = [replace(question, task=chosen[0].task) for question in questions]
    encoded, features = [], model.model.get_image_features
    monkeypatch.setattr(
        type(model.model), "get_image_features",
        lambda self, pixels, **options: (encoded.append(len(pixels)), features(pixels, **options))[1],
    )  # fmt: skip
    generate_answers(model, processor, data, questions, Decoding(8, 2), lambda count: None)
    assert sum(encoded) == 3


def test_equal_prompts_about_an_image_are_answered_once(data, model, processor, monkeypatch):
    first, *_, other = load_questions(data, QuestionScope(tasks=("detection-hbb",)))
    questions = [replace(each, id=f"{each.id}-{n}", prompt="Same?") for each in (first, other) for n in range(4)]
    calls = counted_rows(monkeypatch, model)
    answers = generate_answers(model, processor, data, questions, Decoding(16, 3), lambda count: None)
    assert max(rows for rows, _ in calls) == 2
    assert [answer.id for answer in answers] == [question.id for question in questions]
    for question, answer in zip(questions, answers, strict=True):
        assert answer.text == alone(model, processor, data, question, 3)


def test_beginnings_that_prompts_share_are_read_once(data, model, processor, monkeypatch):
    first = load_questions(data, MANY)[0]
    shared = "Whatever is asked in the end, the same words stand before it for a while: " * 2
    questions = [replace(first, id=f"{first.id}-{n}", prompt=f"{shared}what of {n:02d}?") for n in range(12)]
    expected = [alone(model, processor, data, question, 6) for question in questions]
    calls = counted_rows(monkeypatch, model)
    answers = generate_answers(model, processor, data, questions, Decoding(12, 6), lambda count: None)
    assert [answer.text for answer in answers] == expected
    prompt = len(processor.encode_dialogue([("human", questions[0].prompt)])[0])
    assert sum(rows * positions for rows, positions in calls) < 12 * prompt / 2


def test_earlier_turns_stand_before_the_prompt(data, model, processor, monkeypatch):
    questions = load_questions(data, MANY)[:4]
    for question in questions:
        monkeypatch.setattr(type(find_task(question.task)), "earlier_turns", lambda self, asked: [("What?", "A ship.")])
    read = []
    shared = generate.read_prompts
    monkeypatch.setattr(
        generate, "read_prompts", lambda *given: (read.extend(list(ids) for _, ids in given[3]), shared(*given))[1]
    )
    generate_answers(model, processor, data, questions, SHORT, lambda count: None)
    expected = [
        processor.encode_dialogue([("human", "What?"), ("gpt", "A ship."), ("human", question.prompt)])[0]
        for question in questions
    ]
    assert sorted(read) == sorted(expected)


def test_every_question_is_in_one_batch_and_an_images_questions_stand_together(data, processor):
    questions = load_questions(data, MANY)
    planned = plan_batches(questions, processor, Decoding(batch_size=4))
    listed = [question for batch in planned for question in batch.questions]
    assert sorted(question.id for question in listed) == sorted(question.id for question in questions)
    assert all(len({question.task for question in batch.questions}) == 1 for batch in planned)
    runs = [
        key for index, question in enumerate(listed)
        if (key := (question.task, question.record.id)) != (listed[index - 1].task, listed[index - 1].record.id)
    ]  # fmt: skip
    assert len(runs) == len(set(runs))


@pytest.fixture(scope="module")
def whole(data, model_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    return evaluate(EvaluationConfig(model_folder, data.location, out, MANY, SHORT), QUIET)


@pytest.mark.nightly
def test_two_processes_answer_as_one(data, model_folder, whole, tmp_path):
    config = EvaluationConfig(model_folder, data.location, tmp_path / "out", MANY, SHORT, workers=2)
    assert evaluate(config, QUIET).answers_path.read_bytes() == whole.answers_path.read_bytes()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "answers.begun.json", "answers.jsonl", "evaluation.html", "predictions.png", "scores.json",
    ]  # fmt: skip


RANK = """
import sys
from cli import main
main(sys.argv[1:])
"""


@pytest.mark.nightly
def test_ranks_of_torchrun_answer_as_one(data, model_folder, whole, tmp_path):
    words = ["--quiet", "eval", str(model_folder), str(data.location), "--batch-size", "5", "--max-new-tokens", "12"]
    words += [word for task in MANY.tasks for word in ("--task", task)] + ["--out", str(tmp_path)]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, *words],
            env=os.environ | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    said = [rank.communicate(timeout=120) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], said
    assert (b"detection-hbb/f1-50" in said[0][0], said[1][0]) == (True, b"")
    assert (tmp_path / "answers.jsonl").read_bytes() == whole.answers_path.read_bytes()


@pytest.mark.nightly
def test_a_killed_evaluation_goes_on_and_answers_as_one_that_was_not(data, model_folder, whole, tmp_path):
    words = ["--quiet", "eval", str(model_folder), str(data.location), "--batch-size", "5", "--max-new-tokens", "12"]
    words += [word for task in MANY.tasks for word in ("--task", task)] + ["--out", str(tmp_path)]
    process = subprocess.Popen([sys.executable, "-c", RANK, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    part, deadline = tmp_path / "answers.part-0.jsonl", time.monotonic() + 60
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = part.read_bytes()
    assert kept and not (tmp_path / "answers.jsonl").exists()
    # A kill in the middle of a line.
    part.write_bytes(kept[: len(kept) - 20])
    result = evaluate(EvaluationConfig(model_folder, data.location, tmp_path, MANY, SHORT), QUIET)
    assert result.answers_path.read_bytes() == whole.answers_path.read_bytes()
    assert result.rows == whole.rows


def test_a_finished_evaluation_is_scored_again_without_a_model(data, model_folder, whole, monkeypatch):
    monkeypatch.setattr(AnswerGenerator, "answer", None)
    again = evaluate(EvaluationConfig(model_folder, data.location, whole.answers_path.parent, MANY, SHORT), QUIET)
    assert again.rows == whole.rows


@pytest.mark.parametrize("change", [{"scope": QuestionScope()}, {"decoding": Decoding(max_new_tokens=13)}])
def test_answers_of_another_evaluation_are_not_taken_over(data, model_folder, whole, change):
    config = EvaluationConfig(model_folder, data.location, whole.answers_path.parent, MANY, SHORT)
    before = whole.answers_path.read_bytes()
    with pytest.raises(UserError, match=r"answers of another evaluation: (tasks|max_new_tokens) was .* --out"):
        evaluate(replace(config, **change), QUIET)
    assert whole.answers_path.read_bytes() == before


def test_answers_of_an_unknown_model_are_not_taken_over(data, model_folder, tmp_path):
    (tmp_path / "answers.jsonl").write_text(json.dumps({"id": "a", "text": "b"}))
    with pytest.raises(UserError, match=r"no answers\.begun\.json that says whose"):
        evaluate(EvaluationConfig(model_folder, data.location, tmp_path, MANY, SHORT), QUIET)


def test_parts_are_read_whole_lines_only(tmp_path):
    folder = AnswerFolder(tmp_path)
    folder.append(0, [Answer("a", "one")])
    with (tmp_path / "answers.part-0.jsonl").open("ab") as file:
        file.write(b'{"id": "b", "te')
    assert set(folder.answered()) == {"a"}
    folder.append(0, [Answer("b", "two\nlines")])
    folder.append(1, [Answer("c", "three")])
    assert {name: answer.text for name, answer in folder.answered().items()} == {
        "a": "one", "b": "two\nlines", "c": "three",
    }  # fmt: skip


@given(st.text(max_size=60))
def test_the_texts_of_tokens_are_the_text(processor, text):
    ids = processor._encode_text(" " + text)
    pieces = processor.token_texts(ids)
    assert len(pieces) == len(ids) and "".join(pieces) == processor.decode_text(ids)


def test_boxes_are_as_sure_as_their_tokens(data, model, processor, monkeypatch):
    """Against one forward pass over prompt and answer; parts of the answer of random weights stand for boxes."""
    question = load_questions(data, QuestionScope(tasks=("detection-hbb",)))[0]
    monkeypatch.setattr(generate, "box_spans", lambda text: [(0, 5), (5, len(text))])
    (answer,) = generate_answers(model, processor, data, [question], Decoding(max_new_tokens=12), lambda count: None)
    inputs = processor(images=[question_image(data, question)], text=[question.prompt])
    start = inputs["input_ids"].shape[1]
    with torch.inference_mode():
        ids_L = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0]
        logits_LK = model(input_ids=ids_L[None], pixel_values=inputs["pixel_values"]).logits[0, start - 1 : -1]
    logits_LK = logits_LK.clone()
    logits_LK[:, processor.image_token_id] = -torch.inf
    chosen_L = logits_LK.log_softmax(-1).gather(1, ids_L[start:, None])[:, 0]
    pieces = processor.token_texts(ids_L[start:].tolist())
    ends = [sum(map(len, pieces[: n + 1])) for n in range(len(pieces))]
    first = [value for value, piece, end in zip(chosen_L, pieces, ends, strict=True) if piece and end - len(piece) < 5]
    rest = [value for value, end in zip(chosen_L, ends, strict=True) if end > 5]
    expected = [float(torch.stack(values).mean()) for values in (first, rest)]
    assert answer.box_log_probabilities == pytest.approx(expected, abs=1e-3) and max(expected) < 0


def test_the_boxes_of_an_answer_are_counted_as_the_parser_counts_them():
    said = "There are <p>two cars</p>[0.111,0.222,0.333,0.444;0.5,x; ] and <p>one ship</p>[0.100,0.100,0.900,0.900"
    assert [said[start:end] for start, end in box_spans(said)] == [
        "0.111,0.222,0.333,0.444", "0.5,x", "0.100,0.100,0.900,0.900",
    ]  # fmt: skip
    groups = parse_detections(said, SquareFrame(10, 10), ("car", "ship"), DIALECTS["mmrs"])
    assert [group.boxes.sound for group in groups] == [(True, False), (True,)]
