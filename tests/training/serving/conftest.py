"""One tiny model, one engine and one server on loopback for all tests of serving."""

import threading
import time
from types import SimpleNamespace

import pytest
import uvicorn
from PIL import Image

from mmrs.instructions.dialects import dialect
from tests.support.models import save_tiny_model
from training.serving.api.app import ApiOptions, make_app
from training.serving.load import open_engine

KEY = "loopback-test-key"


@pytest.fixture(scope="session")
def served_folder(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("served") / "tiny")


@pytest.fixture(scope="session")
def scene():
    return Image.radial_gradient("L").resize((90, 60)).convert("RGB")


@pytest.fixture(scope="session")
def engine(served_folder):
    opened = open_engine(served_folder, "cpu", most_running=16, most_waiting=64)
    yield opened
    opened.close(0)


@pytest.fixture(scope="session")
def server(engine):
    """Its address, key and engine."""
    app = make_app(engine, ApiOptions("tiny", dialect("mmrs"), KEY, default_tokens=16))
    running = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    port = running.servers[0].sockets[0].getsockname()[1]
    yield SimpleNamespace(url=f"http://127.0.0.1:{port}", port=port, key=KEY, engine=engine)
    running.should_exit = True
    thread.join(10)
