"""An endpoint on loopback that fails as real ones do: asked, retried, resumed, scored; no token is told."""

import base64
import io
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner
from PIL import Image

from cli import main
from mmrs.errors import RunFailure, UserError
from mmrs.progress import Progress
from mmrs.storage.retry import Patience
from training.evaluation.adapters import find_adapter
from training.evaluation.answers import read_answers
from training.evaluation.generate import Decoding
from training.evaluation.models.client import ServerAddress, check_address, post
from training.evaluation.models.endpoint import Endpoint
from training.evaluation.questions import QuestionScope, load_questions
from training.evaluation.run import EvaluationConfig, evaluate

QUIET = Progress(quiet=True)
SCOPE = QuestionScope(tasks=("detection-hbb",))
HASTY = Patience(tries=4, first_wait_seconds=0.01, longest_wait_seconds=0.02, stall_seconds=5)
TOKEN = "not-to-be-seen"


def reply(text, finish="stop", **more):
    return 200, {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish, **more}]}


@contextmanager
def serving(answer):
    """A server whose replies are (status, body) or (status, body, headers) of `answer(request, number)`."""
    seen, lock = [], threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                seen.append({"path": self.path, "token": self.headers.get("Authorization"), "body": body})
                number = len(seen)
            status, content, *headers = answer(body, number)
            written = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in (headers[0] if headers else {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(written)))
            self.end_headers()
            self.wfile.write(written)

        def log_message(self, *arguments):
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", seen
    finally:
        server.shutdown()
        server.server_close()


def config(url, data, out, **endpoint):
    asked = Endpoint("theirs", **{"patience": HASTY, "concurrency": 3} | endpoint)
    return EvaluationConfig(url, data.location, out, SCOPE, Decoding(), adapter="qwen3-vl", endpoint=asked)


def right_answers(data):
    """The family's right answer, by the prompt and the image that are sent."""
    adapter = find_adapter("qwen3-vl")
    return {
        base64.b64encode(data.image(dict(question.row))).decode(): adapter.reference(question)
        for question in load_questions(data, SCOPE)
    }


def image_of(body):
    return body["messages"][0]["content"][0]["image_url"]["url"].partition("base64,")[2]


def test_right_answers_of_a_server_score_one(data, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", TOKEN)
    right = right_answers(data)
    with serving(lambda body, number: reply(right[image_of(body)])) as (url, seen):
        result = evaluate(config(url, data, tmp_path / "out"), QUIET)
    (row,) = result.rows
    questions = load_questions(data, SCOPE)
    assert (row.value, row.failed, len(seen)) == (1, 0, len(questions))
    assert {each["path"] for each in seen} == {"/v1/chat/completions"}
    assert {each["token"] for each in seen} == {f"Bearer {TOKEN}"}
    body = seen[0]["body"]
    assert (body["model"], body["temperature"], body["logprobs"]) == ("theirs", 0, True)
    assert body["max_tokens"] >= max(map(len, right.values())) or body["max_tokens"] >= 256
    assert "bbox_2d" in body["messages"][0]["content"][1]["text"]
    with Image.open(io.BytesIO(base64.b64decode(image_of(body)))) as image:
        assert image.format in ("JPEG", "PNG")
    written = json.loads(result.scores_path.read_text())
    assert (written["adapter"], written["model"]) == ("qwen3-vl", f"theirs at {url}")
    kept = "".join(path.read_text() for path in (tmp_path / "out").glob("*.json*"))
    assert TOKEN not in kept + (tmp_path / "out" / "evaluation.html").read_text()


def test_a_busy_server_is_asked_again_and_says_when(data, tmp_path):
    """The first reply of each kind of trouble, then the right one."""
    right = right_answers(data)
    trouble = {
        1: (429, {"error": {"message": "slow down"}}, {"Retry-After": "0"}),
        2: (503, b"<html>busy</html>"),
        3: (200, b"no json"),
        4: (500, {"error": "x"}, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    }
    with serving(lambda body, number: trouble.get(number) or reply(right[image_of(body)])) as (url, seen):
        (row,) = evaluate(config(url, data, tmp_path / "out"), QUIET).rows
    assert (row.value, row.failed) == (1, 0) and len(seen) == len(right) + 4


def test_the_server_says_how_long_to_wait(monkeypatch):
    waited = []
    monkeypatch.setattr("time.sleep", waited.append)
    replies = {1: (429, {}, {"Retry-After": "7"}), 2: (503, {}, {"Retry-After": "100000"})}
    with serving(lambda body, number: replies.get(number) or (200, {"ok": 1})) as (url, _):
        assert post(ServerAddress(url), "/x", {}, HASTY) == {"ok": 1}
    assert 7.0 in waited and 300.0 in waited


def test_what_was_answered_before_a_failure_is_kept(data, tmp_path):
    right = right_answers(data)
    with serving(lambda body, number: reply(right[image_of(body)]) if number < 3 else (500, {})) as (url, seen):
        settings = config(url, data, tmp_path / "out", concurrency=1)
        with pytest.raises(RunFailure, match=r"failed 4 times, the last time with: 500.*the same command goes on"):
            evaluate(settings, QUIET)
        assert len(seen) == 2 + HASTY.tries
    port = int(url.rsplit(":", 1)[1].partition("/")[0])
    with pytest.raises(RunFailure, match="failed 4 times, the last time with: URLError"):
        evaluate(settings, QUIET)
    asked = []

    class Back(ThreadingHTTPServer):
        allow_reuse_address = True

    with serving(lambda body, number: asked.append(number) or reply(right[image_of(body)])) as (other, seen):
        # The same folder: another address is another model.
        with pytest.raises(UserError, match="endpoint was"):
            evaluate(config(other, data, tmp_path / "out"), QUIET)
        begun = tmp_path / "out" / "answers.begun.json"
        begun.write_text(begun.read_text().replace(str(port), other.rsplit(":", 1)[1].partition("/")[0]))
        (row,) = evaluate(config(other, data, tmp_path / "out"), QUIET).rows
    assert (row.value, len(asked)) == (1, len(right) - 2)


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (401, {"error": {"message": "bad key"}}, "refuses the token .401 bad key.*--token-variable"),
        (404, {"error": {"message": "no model"}}, "no such address or model .404 no model.*ends with /v1"),
        (400, {"error": {"message": "logprobs unsupported"}}, "--no-log-probabilities"),
        (400, {"error": {"message": "image too large"}}, "refuses the request: 400 image too large"),
        (302, {}, "sends on to another address"),
    ],
)
def test_a_refusal_is_told_once_and_not_tried_again(data, tmp_path, monkeypatch, status, body, told):
    monkeypatch.setenv("THEIRS", TOKEN)
    elsewhere = {"Location": "http://127.0.0.1:9/elsewhere"}
    with serving(lambda request, number: (status, body, elsewhere)) as (url, seen):
        with pytest.raises(UserError, match=told) as raised:
            evaluate(config(url, data, tmp_path / "out", concurrency=1, token_variable="THEIRS"), QUIET)
        assert len(seen) == 1 and TOKEN not in str(raised.value)


def test_finish_reasons_and_probabilities_are_taken_where_they_fit(data, tmp_path):
    text = '[{"bbox_2d": [1, 2, 900, 800], "label": "car"}]'
    pieces = ["[{", '"bbox_2d": [1', ", 2, 900", ", 800]", ', "label": "car"}]']
    rows = [{"token": piece, "logprob": -place / 10} for place, piece in enumerate(pieces)]
    replies = {
        1: reply(text, "stop", logprobs={"content": rows}),
        2: reply(text, "length", logprobs={"content": rows[:2]}),
        3: reply(None, "content_filter"),
        4: reply("[]", "stop"),
    }
    with serving(lambda body, number: replies[number]) as (url, _):
        answers = read_answers(evaluate(config(url, data, tmp_path / "out", concurrency=1), QUIET).answers_path)
    assert [answer.finish_reason for answer in answers] == ["stop", "length", "unknown", "stop"]
    assert answers[0].box_log_probabilities == pytest.approx((-0.2,)) and answers[1].box_log_probabilities is None
    assert (answers[2].text, answers[3].text, answers[3].said) == ("", "There are no objects in the image.", "[]")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://example.org/v1", "neither https nor on this machine"),
        ("https://user:secret@example.org/v1", "a token belongs into the environment"),
        ("https://example.org/v1?key=secret", "a token belongs into the environment"),
        ("ftp://example.org/v1", "neither https"),
    ],
)
def test_a_token_and_images_go_to_https_or_to_this_machine(url, told):
    with pytest.raises(UserError, match=told) as raised:
        check_address(url)
    assert "secret" not in str(raised.value)


def test_addresses_of_this_machine_and_https_are_taken():
    for url in ("https://example.org/v1/", "http://localhost:8000/v1", "http://[::1]:80/v1", "http://127.0.0.2/v1"):
        assert check_address(url) == url.rstrip("/")
    assert TOKEN not in repr(ServerAddress("https://example.org/v1", TOKEN))


def test_the_command_says_what_an_endpoint_needs(data, tmp_path):
    def run(*more):
        words = ["eval", "http://127.0.0.1:9/v1", str(data.location), "--out", str(tmp_path / "out"), *more]
        return CliRunner().invoke(main, words)

    for words, told in (
        ([], "name the model that is asked for with --model"),
        (["--model", "m"], "say how the model writes boxes with --adapter"),
        (["--model", "m", "--adapter", "llava", "--workers", "2"], "--concurrency"),
        (["--model", "m", "--adapter", "llava", "--constrained"], "--constrained"),
    ):
        done = run(*words)
        assert done.exit_code == 2 and told in " ".join(done.output.split()), done.output
