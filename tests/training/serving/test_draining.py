"""A server that is told to end: what it has taken is answered, who comes is sent away, and it ends in bounded time."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import uvicorn
from sse_starlette.sse import AppStatus

from mmrs.instructions.dialects import dialect
from tests.support.pages import ROOT
from tests.support.servers import free_port, wait_for
from training.model.inputs.conversation import Conversation
from training.serving.api.app import ApiOptions, make_app
from training.serving.api.draining import DrainingServer
from training.serving.engine import Finished, Sampling
from training.serving.load import open_engine

QUESTION = "Please detect all objects in this image."
ASKED = Conversation((("human", QUESTION),), ((),))


@pytest.fixture
def running(served_folder, monkeypatch):
    """Function: patience in seconds -> a server whose engine runs one row and takes its time with it."""
    # sse-starlette marks the whole process as ending.
    monkeypatch.setattr(AppStatus, "should_exit", False)
    opened = []

    def start(patience_seconds, step_seconds=0.02):
        engine = open_engine(served_folder, "cpu", most_running=1, most_waiting=8)
        step = engine._rows.step
        monkeypatch.setattr(engine._rows, "step", lambda tokens: time.sleep(step_seconds) or step(tokens))
        said = []
        config = uvicorn.Config(
            make_app(engine, ApiOptions("tiny", dialect("mmrs"))),
            port=0,
            log_level="error",
            timeout_graceful_shutdown=5,
        )
        server = DrainingServer(config, engine, said.append, patience_seconds)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        opened.append(SimpleNamespace(engine=engine, server=server, thread=thread, port=port, said=said))
        return opened[-1]

    yield start
    for each in opened:
        each.server.should_exit = each.server.force_exit = True
        each.engine.close(0)
        each.thread.join(10)


@contextmanager
def asked(port, path="/v1/chat/completions", **body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    if path.startswith("/v1"):
        content = json.dumps({"messages": [{"role": "user", "content": QUESTION}]} | body)
        connection.request("POST", path, content, {"Content-Type": "application/json"})
    else:
        connection.request("GET", path)
    yield connection.getresponse()
    connection.close()


def events(reply):
    """What each event of a stream holds, to its end."""
    for line in reply:
        if line.startswith(b"data: "):
            yield line[6:].strip()


def told(port, path="/v1/chat/completions"):
    with asked(port, path) as reply:
        return reply.status, dict(reply.getheaders()), json.loads(reply.read())


def test_what_was_taken_is_answered_and_others_are_sent_away(running):
    here = running(20.0)
    (expected,) = [each for each in here.engine.answer(ASKED, Sampling(16)) if isinstance(each, Finished)]
    whole = []

    def wait_for_whole():
        with asked(here.port, max_tokens=16) as reply:
            whole.append((reply.status, json.loads(reply.read())))

    waiting = threading.Thread(target=wait_for_whole)
    with asked(here.port, stream=True, max_tokens=16) as reply:
        stream = events(reply)
        chunks = [next(stream), next(stream)]
        waiting.start()
        while not here.engine.waiting:
            time.sleep(0.005)
        here.server.handle_exit(signal.SIGTERM, None)
        while not here.engine.stopping:
            time.sleep(0.005)
        status, headers, body = told(here.port)
        assert (status, body["error"]["code"], body["error"]["type"]) == (503, "server_stopping", "server_error")
        assert int(headers["retry-after"]) > 0 and headers["connection"] == "close"
        assert told(here.port, "/health")[0] == 503
        chunks += stream
    waiting.join(20)
    assert chunks[-1] == b"[DONE]"
    pieces = [json.loads(chunk)["choices"][0] for chunk in chunks[:-1]]
    assert "".join(piece["delta"].get("content", "") for piece in pieces) == expected.text
    assert pieces[-1]["finish_reason"] == expected.reason
    ((status, body),) = whole
    assert (status, body["choices"][0]["message"]["content"]) == (200, expected.text)
    here.thread.join(5)
    assert not here.thread.is_alive()
    assert here.said == ["ending: 2 requests are answered first, for 20 s at most; the same signal again ends at once"]


def test_after_the_patience_everybody_is_told_that_it_was_not_answered(running):
    here = running(0.3, step_seconds=0.1)
    replies = []

    def ask(**body):
        with asked(here.port, max_tokens=200, **body) as reply:
            replies.append((reply.status, list(events(reply)) if body else json.loads(reply.read())))

    threads = [threading.Thread(target=ask, kwargs=body) for body in ({"stream": True}, {"stream": True}, {})]
    for number, thread in enumerate(threads):
        thread.start()
        while here.engine.running + here.engine.waiting <= number:
            time.sleep(0.005)
    start = time.monotonic()
    here.server.handle_exit(signal.SIGTERM, None)
    for thread in (*threads, here.thread):
        thread.join(10)
    assert time.monotonic() - start < 5 and not here.thread.is_alive()
    for status, found in replies:
        error = found if isinstance(found, dict) else json.loads(found[-1])
        assert (status, error["error"]["code"]) == (503 if isinstance(found, dict) else 200, "server_stopping")
    assert sorted(status for status, _ in replies) == [200, 200, 503]
    assert here.engine.running == here.engine.waiting == 0


def test_a_second_signal_ends_at_once(running):
    here = running(20.0, step_seconds=0.1)
    with asked(here.port, stream=True, max_tokens=200) as reply:
        next(events(reply))
        start = time.monotonic()
        here.server.handle_exit(signal.SIGINT, None)
        here.server.handle_exit(signal.SIGINT, None)
        here.thread.join(10)
        assert not here.thread.is_alive() and time.monotonic() - start < 3


@pytest.mark.nightly
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize(("sent", "code", "last"), [(signal.SIGTERM, 143, None), (signal.SIGINT, 0, "ended")])
def test_the_command_ends_as_its_help_says(served_folder, tmp_path, sent, code, last, background):
    """Background jobs of a shell have SIGINT ignored when they begin."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if background else signal.default_int_handler)
    port = free_port()
    words = ["-m", "mmrs", "serve", str(served_folder), "--port", str(port), "--device", "cpu"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, *words], cwd=ROOT, stderr=subprocess.PIPE, text=True, env=environment)
    signal.signal(signal.SIGINT, before)
    try:
        wait_for(port, 120)
        with asked(port, stream=True, max_tokens=400) as reply:
            stream = events(reply)
            next(stream)
            process.send_signal(sent)
            ended = list(stream)
        assert ended[-1] == b"[DONE]"
        start = time.monotonic()
        told_words = process.communicate(timeout=30)[1]
        assert time.monotonic() - start < 10
    finally:
        process.kill()
    assert process.returncode == code and "Traceback" not in told_words, told_words
    assert last is None or told_words.splitlines()[-1] == last
