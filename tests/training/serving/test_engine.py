"""Whoever is answered beside it, an answer is the one of `generate`; the queue is bounded; who leaves makes room."""

import queue
import threading
import time

import pytest
import torch
from PIL import Image

from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor
from training.model.inputs.conversation import Conversation
from training.serving.engine import AnswerEngine, EngineFull, Finished, PromptTooLong, Sampling, TextPiece

QUESTIONS = ["Please detect all objects in this image.", "There?", "Please! detect 0.123 in all.", "[0.456]"]


def asked(question, *pictures):
    return Conversation((("human", question),), (pictures,))


def submitted(engine, conversation, sampling):
    events = queue.SimpleQueue()
    return engine.submit(conversation, sampling, events.put), events


def awaited(events):
    said = ""
    while True:
        event = events.get(timeout=60)
        if isinstance(event, Finished):
            return said, event
        said += event.text


@pytest.fixture(scope="module")
def reference(served_folder):
    """Function of question and picture: the ids' text by `generate`, alone."""
    model = EarthGPTForConditionalGeneration.from_pretrained(served_folder).eval()
    processor = EarthGPTProcessor.from_pretrained(served_folder)

    def answer(question, picture, tokens):
        inputs = processor(images=picture, text=question)
        output = model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
        return processor.decode_answers(output, inputs["input_ids"].shape[1])[0]

    return answer


def test_answers_are_those_of_generate_whoever_is_answered_beside(engine, reference, scene):
    """Requests of other lengths join and leave while others run."""
    pictures = [scene, None, scene.transpose(Image.Transpose.ROTATE_90), Image.new("L", (30, 30), 9)]
    requests = [
        (question, picture, 6 + 5 * n) for n, (question, picture) in enumerate(zip(QUESTIONS, pictures, strict=True))
    ]
    running = []
    for question, picture, tokens in requests * 3:
        conversation = asked(question, *([] if picture is None else [picture]))
        running.append(submitted(engine, conversation, Sampling(max_new_tokens=tokens))[1])
        time.sleep(0.01)
    answers = [awaited(events) for events in running]
    for (question, picture, tokens), (said, event) in zip(requests * 3, answers, strict=True):
        assert event.text == said == reference(question, picture, tokens)
        assert (event.reason == "length") == (event.answer_tokens == tokens)
    assert engine.running == engine.waiting == 0


def test_how_probable_each_token_was_is_what_generate_says(engine, served_folder, scene):
    model = EarthGPTForConditionalGeneration.from_pretrained(served_folder).eval()
    inputs = EarthGPTProcessor.from_pretrained(served_folder)(images=scene, text=QUESTIONS[0])
    output = model.generate(
        **inputs, max_new_tokens=9, do_sample=False, output_scores=True, return_dict_in_generate=True
    )
    expected = model.compute_transition_scores(output.sequences, output.scores, normalize_logits=True)[0]
    beside = submitted(engine, asked(QUESTIONS[1]), Sampling(9))[1]
    end = awaited(submitted(engine, asked(QUESTIONS[0], scene), Sampling(9, log_probabilities=True))[1])[1]
    assert end.log_probabilities == pytest.approx(expected[: end.answer_tokens].tolist(), abs=1e-4)
    assert "".join(end.token_texts) == end.text and len(end.token_texts) == len(end.log_probabilities) > 0
    assert awaited(beside)[1].log_probabilities == ()


@pytest.mark.nightly
def test_sixteen_at_once_are_answered_faster_than_one_after_the_other(engine, scene):
    def seconds(count):
        start = time.perf_counter()
        for events in [submitted(engine, asked(QUESTIONS[0], scene), Sampling(40))[1] for _ in range(count)]:
            awaited(events)
        return time.perf_counter() - start

    seconds(1)
    steps = engine.counts.steps
    one = seconds(1)
    alone = engine.counts.steps - steps
    sixteen = seconds(16)
    # By steps, which no other program on the machine changes; by the clock only that it is no slower.
    assert engine.counts.steps - steps - alone < 3 * alone
    assert sixteen < 16 * one


def held(engine, monkeypatch):
    """A function that lets what was submitted meanwhile be read, all at once."""
    gate, read = threading.Event(), engine._read
    monkeypatch.setattr(engine, "_read", lambda tickets: gate.wait(30) and read(tickets))
    blocker = submitted(engine, asked("There?"), Sampling(1))[1]
    while engine.waiting:
        time.sleep(0.001)
    return lambda: (gate.set(), awaited(blocker))


def test_what_waits_is_read_together(engine, reference, scene, monkeypatch):
    """Images in one call of the encoders, prompts of like lengths in one of the decoder."""
    calls, original, join = [], engine._model.get_image_features, engine._rows.join
    monkeypatch.setattr(
        engine._model, "get_image_features", lambda pixels: calls.append(len(pixels)) or original(pixels)
    )
    monkeypatch.setattr(engine._rows, "join", lambda newcomers: calls.append(newcomers) or join(newcomers))
    release = held(engine, monkeypatch)
    pictures = [Image.effect_noise((40 + n, 30), 90) for n in range(3)]
    requests = [(question, picture) for question, picture in zip(QUESTIONS, [*pictures, pictures[0]], strict=True)]
    running = [submitted(engine, asked(*request), Sampling(6))[1] for request in requests]
    far_longer = submitted(engine, asked("There " * 200), Sampling(6))[1]
    release()
    for (question, picture), events in zip(requests, running, strict=True):
        assert awaited(events)[0] == reference(question, picture, 6)
    assert awaited(far_longer)[1].answer_tokens == 6
    # The blocker; then four requests about three pictures, and the prompt that would pad all of them.
    assert [call if isinstance(call, int) else len(call) for call in calls] == [1, 3, 4, 1]


def test_of_those_read_together_one_that_fails_fails_alone(engine, reference, scene, monkeypatch):
    join, sizes = engine._rows.join, []

    def failing(newcomers):
        sizes.append(len(newcomers))
        if bad[0] in [each.key for each in newcomers]:
            raise RuntimeError("no memory left")
        return join(newcomers)

    monkeypatch.setattr(engine._rows, "join", failing)
    release = held(engine, monkeypatch)
    failed = engine.counts.failed
    good = [submitted(engine, asked(question, scene), Sampling(5))[1] for question in QUESTIONS[:2]]
    bad = submitted(engine, asked(QUESTIONS[2], scene), Sampling(5))
    release()
    assert awaited(bad[1])[1].reason == "failed" and engine.counts.failed == failed + 1
    assert [awaited(events)[0] for events in good] == [reference(question, scene, 5) for question in QUESTIONS[:2]]
    assert sizes == [1, 3, 1, 1, 1]


def test_draws_depend_on_the_seed_alone(engine, scene):
    hot = Sampling(max_new_tokens=12, temperature=1.5, top_p=0.9, seed=7)
    alone = awaited(submitted(engine, asked("There?", scene), hot)[1])[0]
    beside = [submitted(engine, asked("There?", scene), Sampling(12, 1.5, 0.9, seed))[1] for seed in (1, 7, 3)]
    texts = [awaited(events)[0] for events in beside]
    assert texts[1] == alone and len(set(texts)) > 1


@pytest.mark.parametrize("temperature", [1e-6, 1e-40, 5e-324])
def test_a_temperature_next_to_nothing_is_none(engine, scene, temperature):
    """In float32 logits divided by it are infinite, which no draw can be made from."""
    greedy = awaited(submitted(engine, asked("There?", scene), Sampling(6))[1])[0]
    end = awaited(submitted(engine, asked("There?", scene), Sampling(6, temperature))[1])[1]
    assert (end.text, end.reason != "failed") == (greedy, True)


def test_stop_texts_end_an_answer_and_are_no_part_of_it(engine, reference, scene):
    whole = reference(QUESTIONS[0], scene, 40)
    stop = whole[len(whole) // 2 :][:3]
    assert len(stop) == 3
    pieces = list(engine.answer(asked(QUESTIONS[0], scene), Sampling(40, stop=("never", stop))))
    end = pieces[-1]
    assert end.reason == "stop" and end.text == whole[: whole.index(stop)]
    assert "".join(piece.text for piece in pieces if isinstance(piece, TextPiece)) == end.text


def test_who_stops_listening_leaves(engine, scene):
    cancelled = engine.counts.cancelled
    answer = engine.answer(asked(QUESTIONS[0], scene), Sampling(200))
    next(answer)
    answer.close()
    deadline = time.monotonic() + 10
    while engine.running and time.monotonic() < deadline:
        time.sleep(0.01)
    assert engine.running == 0 and engine.counts.cancelled == cancelled + 1


def test_a_full_queue_says_when_to_come_again_and_closing_answers_what_is_there(served_folder, scene):
    model = EarthGPTForConditionalGeneration.from_pretrained(served_folder)
    small = AnswerEngine(model, EarthGPTProcessor.from_pretrained(served_folder), most_running=1, most_waiting=2)
    taken, refused = [], 0
    for _ in range(8):
        try:
            taken.append(submitted(small, asked(QUESTIONS[0], scene), Sampling(20))[1])
        except EngineFull as error:
            refused += 1
            assert error.retry_after_seconds > 0
    assert refused >= 5 and small.counts.refused == refused
    small.close()
    assert all(awaited(events)[1].reason in ("length", "stop") for events in taken)
    with pytest.raises(EngineFull, match="stopping"):
        small.submit(asked("a"), Sampling(), print)


def test_what_fails_fails_alone(engine, scene, monkeypatch):
    failed = engine.counts.failed
    with pytest.raises((TypeError, ValueError), match="an image is a object"):
        engine.submit(asked("There?", object()), Sampling(4), print)
    with monkeypatch.context() as patch:
        patch.setattr(engine._rows, "join", lambda *arguments: torch.zeros(1) @ torch.zeros(2))
        end = awaited(submitted(engine, asked("There?", scene), Sampling(4))[1])[1]
    assert end.reason == "failed" and "RuntimeError" in end.text and engine.counts.failed == failed + 1
    hot, cold = Sampling(4, temperature=1.0), Sampling(4)

    def no_draw(*arguments, **named):
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "multinomial", no_draw)
        beside = submitted(engine, asked("There?", scene), cold)[1]
        end = awaited(submitted(engine, asked("There?", scene), hot)[1])[1]
        assert (end.reason, awaited(beside)[1].reason in ("length", "stop")) == ("failed", True)
    assert engine.running == 0
    assert awaited(submitted(engine, asked("There?", scene), hot)[1])[1].reason in ("length", "stop")
    with pytest.raises(PromptTooLong, match="the model reads"):
        engine.submit(asked("word " * 5000), Sampling(), print)


def test_an_image_is_encoded_once(engine, monkeypatch):
    calls = []
    original = engine._model.get_image_features
    monkeypatch.setattr(engine._model, "get_image_features", lambda *a, **k: calls.append(1) or original(*a, **k))
    picture = Image.effect_noise((40, 30), 80)
    for question in QUESTIONS[:3]:
        awaited(submitted(engine, asked(question, picture), Sampling(2))[1])
    assert len(calls) == 1


@torch.no_grad()
def test_a_placeholder_is_never_answered(served_folder, scene):
    model = EarthGPTForConditionalGeneration.from_pretrained(served_folder).eval()
    processor = EarthGPTProcessor.from_pretrained(served_folder)
    model.lm_head.weight[processor.image_token_id] = 1e3 * model.lm_head.weight[7]
    own = AnswerEngine(model, processor)
    ticket, events = submitted(own, asked("There?", scene), Sampling(8))
    awaited(events)
    assert ticket.tokens and processor.image_token_id not in ticket.tokens
    own.close(0)
