"""The scripts of ``examples/``, one after the other as somebody would try them: each goes on with what was written."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest

import mmrs
from mmrs.export.run import ExportConfig, write_export
from mmrs.progress import Progress
from tests.support.pages import ROOT

EXAMPLES = ROOT / "examples"


def run(name, *arguments):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{name}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def served(model):
    """The address of a server, which SIGTERM ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["-m", "mmrs", "serve", str(model), "--port", str(port), "--device", "cpu"]
    server = subprocess.Popen([sys.executable, *words], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and server.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        said = server.communicate(timeout=60)[1]
    assert server.returncode in (0, 143, -signal.SIGTERM) and "Traceback" not in said, said


@pytest.mark.nightly
def test_the_examples_run_in_order(tmp_path):
    shards, trained = tmp_path / "shards", tmp_path / "run"
    assert "ok: 22 samples in 3 shards" in run("build.py", tmp_path)
    batches = run("stream_to_pytorch.py", shards).splitlines()
    # Two epochs of 12 images; two workers make batches of their own shares.
    assert [int(line[1]) for line in batches] == [4, 4, 2, 2] * 2 and all(
        ", 3, 224, 224) | " in line for line in batches
    )
    samples = run("load_with_datasets.py", shards).splitlines()
    assert len(samples) == 12 and all("(640, 512)" in line for line in samples)
    assert "4 steps, final loss" in run("train.py", shards, trained)
    image = next((tmp_path / "raw" / "hit-uav").rglob("*.jpg"))
    assert run("predict.py", trained / "model", image, "Please detect all objects in this image.").endswith("\n")
    with served(trained / "model") as url:
        assert run("ask_server.py", url, image, "Please detect all objects in this image.").endswith("\n")
    data, exported = mmrs.open(shards), tmp_path / "exported"
    write_export(ExportConfig(shards, "messages", exported), Progress(quiet=True))
    batch = run("train_with_trl.py", exported, trained / "model")
    question = next(data.stream(["train"], shuffle=False).__iter__()).record.dialogues[0].turns[0].value
    assert question in batch and "pixel_values: (2, 3, " in batch
    scores = run("score_answers.py", shards, tmp_path / "scores")
    assert "detection-hbb" in scores and (tmp_path / "scores" / "scores.json").exists()


def test_every_example_is_run():
    text = (ROOT / "tests" / "docs" / "test_examples.py").read_text()
    for path in EXAMPLES.iterdir():
        assert path.suffix == ".py" and f'run("{path.name}"' in text, path
