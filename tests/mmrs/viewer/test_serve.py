"""The command from a folder to a listening page, and how it ends."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import Future
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from cli import main
from mmrs.errors import RunFailure, UserError
from mmrs.viewer import catalogue
from mmrs.viewer.app import make_viewer
from mmrs.viewer.catalogue import load_catalogue
from mmrs.viewer.serve import load_first_viewed, load_viewed
from tests.support.applications import serving

ROOT = Path(__file__).resolve().parents[3]


def run(*words):
    return CliRunner().invoke(main, ["view", *map(str, words)])


def test_what_cannot_be_shown_ends_the_server_with_its_reason(tmp_path):
    done = run(tmp_path, "--port", 0, "--exclude", tmp_path / "x")
    assert done.exit_code == 2 and "it is no finished data set" in done.output
    (tmp_path / "x").write_text("no json")
    assert run(tmp_path, "--port", 0, "--exclude", tmp_path / "x").exit_code == 2


def test_a_port_that_is_taken_is_told(viewed_set, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        done = run(viewed_set, "--port", other.getsockname()[1], "--exclude", tmp_path / "x")
    assert done.exit_code == 2 and "Choose another --port" in done.output


def test_the_page_is_there_before_the_data(viewed_set, tmp_path):
    loading = Future()
    with serving(make_viewer(loading)) as port:
        address = f"http://127.0.0.1:{port}"
        assert b"reading the indexes" in urllib.request.urlopen(f"{address}/", timeout=10).read()
        answers = []
        ask = threading.Thread(target=lambda: answers.append(urllib.request.urlopen(f"{address}/api/about").read()))
        ask.start()
        time.sleep(0.2)
        assert answers == []
        loading.set_result(load_viewed(viewed_set, tmp_path / "x"))
        ask.join(20)
    assert json.loads(answers[0])["images"] > 0


def get(address):
    try:
        with urllib.request.urlopen(address, timeout=20) as reply:
            content = reply.read()
    except urllib.error.HTTPError as error:
        return error.code, None
    return 200, orjson.loads(content) if content[:1] == b"{" else content


def test_the_first_images_are_there_before_the_others(viewed_set, tmp_path):
    """By the numbers that they have in the whole; what lies behind them waits."""
    whole = load_viewed(viewed_set, tmp_path / "x")
    part = load_first_viewed(viewed_set, tmp_path / "x")
    few = len(part.catalogue)
    assert few < len(whole.catalogue)
    loading, first = Future(), Future()
    with serving(make_viewer(loading, first=first)) as port:
        address = f"http://127.0.0.1:{port}"
        first.set_result(part)
        shown = get(f"{address}/api/first")[1]
        assert (shown["total"], shown["images"]) == (few, len(whole.catalogue)) and len(shown["rows"]) == few
        image = f"{address}/image/{shown['data_set'][:16]}"
        assert get(f"{image}/0?small")[1][:2] == b"\xff\xd8"
        waited = []
        others = [f"{image}/{few}?small", f"{address}/api/rows?limit=3&offset=0"]
        asking = [threading.Thread(target=lambda url=url: waited.append(get(url)[0])) for url in others]
        for thread in asking:
            thread.start()
        time.sleep(0.2)
        assert waited == []
        loading.set_result(whole)
        for thread in asking:
            thread.join(20)
        assert waited == [200, 200]
        rows = get(f"{address}/api/rows?limit={few}&offset=0")[1]["rows"]
    for ours, theirs in zip(shown["rows"], rows, strict=True):
        assert [ours[name] for name in ("row", "id", "width", "height")] == [
            theirs[name] for name in ("row", "id", "width", "height")
        ]


@pytest.mark.parametrize("fails", ["first", "all"])
def test_without_first_images_there_are_none(viewed_set, tmp_path, fails):
    loading, first = Future(), Future()
    first.set_result(None if fails == "first" else load_first_viewed(viewed_set, tmp_path / "x"))
    if fails == "all":
        loading.set_exception(UserError("no such thing"))
    with serving(make_viewer(loading, first=first)) as port:
        status, shown = get(f"http://127.0.0.1:{port}/api/first")
        assert status == 200 and bool(shown["rows"]) == (fails == "all")
        loading.cancel()
    assert load_first_viewed("https://example.org/data", tmp_path / "x") is None


def test_whoever_leaves_is_not_waited_for(viewed_set, monkeypatch):
    """Ctrl-C while the indexes are read: each thread ends with the one that it reads."""
    ended, read = threading.Event(), []
    original = catalogue._read_part

    def part(shards, number):
        read.append(number)
        ended.set()
        return original(shards, number)

    monkeypatch.setattr(catalogue, "_read_part", part)
    monkeypatch.setattr(catalogue, "_THREADS", 1)
    with pytest.raises(RunFailure, match="nobody waits"):
        load_catalogue(viewed_set, ended)
    assert read == [0] and len(load_catalogue(viewed_set).shards.manifest.shards) > 2


@pytest.mark.nightly
def test_the_command_ends_while_it_reads(viewed_set, tmp_path):
    """Of a reading that takes a minute."""
    slow = """if True:
        import sys, time
        from mmrs.viewer import catalogue
        read = catalogue._read_part
        catalogue._read_part = lambda shards, number: time.sleep(0.2 if number == 0 else 5) or read(shards, number)
        sys.argv = ["mmrs", *sys.argv[1:]]
        from cli import main
        main()
    """
    words = ["view", str(viewed_set), "--port", "0", "--exclude", str(tmp_path / "x")]
    with subprocess.Popen([sys.executable, "-c", slow, *words], cwd=ROOT, stderr=subprocess.PIPE, text=True) as server:
        address = server.stderr.readline().partition(" at ")[2].partition(" ")[0]
        assert get(f"{address}api/first")[1]["rows"]
        started = time.monotonic()
        server.send_signal(signal.SIGINT)
        assert server.wait(40) == 0 and time.monotonic() - started < 15
        assert "Traceback" not in server.stderr.read()


@pytest.mark.nightly
def test_the_command_serves_until_it_is_told_to_end(viewed_set, tmp_path):
    command = [sys.executable, "-m", "mmrs", "view", str(viewed_set), "--port", "0"]
    command += ["--exclude", str(tmp_path / "x")]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as server:
        address = server.stderr.readline().partition(" at ")[2].partition(" ")[0]
        about = json.loads(urllib.request.urlopen(f"{address}api/about", timeout=30).read())
        server.send_signal(signal.SIGTERM)
        assert about["images"] > 0 and server.wait(20) == 143
