"""The command from a folder to a listening page, and how it ends."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import Future
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import main
from mmrs.viewer.app import make_viewer
from mmrs.viewer.serve import load_viewed
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


@pytest.mark.nightly
def test_the_command_serves_until_it_is_told_to_end(viewed_set, tmp_path):
    command = [sys.executable, "-m", "mmrs", "view", str(viewed_set), "--port", "0"]
    command += ["--exclude", str(tmp_path / "x")]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as server:
        address = server.stderr.readline().partition(" at ")[2].partition(" ")[0]
        about = json.loads(urllib.request.urlopen(f"{address}api/about", timeout=30).read())
        server.send_signal(signal.SIGTERM)
        assert about["images"] > 0 and server.wait(20) == 143
