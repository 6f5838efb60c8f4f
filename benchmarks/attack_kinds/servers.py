"""Servers of strangers: over http, as S3 and as the Hub, sound but for one file of a data set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from benchmarks.attack_kinds.scene import Attempt, Scene

PROTOCOLS = ("http", "s3", "hf")
FILES = ("manifest.json", "train-00000-of-00001.parquet", "train-00000-of-00001.tar")
COMMANDS = {
    "verify": "verify {url} --workers 1",
    "curate": "curate {url} --out {out} --workers 1",
    "train": "train tiny --set model.path={model} --set model.preset=null --set data.folders={url} --set out={out}/run "
    "--set epochs=null --set max_steps=1 --set workers=0",
}
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "hunter2SECRET", "AWS_DEFAULT_REGION": "us-east-1"}


def attempts() -> Iterator[Attempt]:
    """Every way to answer, for every file, over every protocol, with a command for each reader."""
    from tests.support.hostile_server import WAYS

    for protocol in PROTOCOLS:
        for file in FILES:
            for way in WAYS:
                for command in COMMANDS if file != FILES[0] else ("verify",):
                    name = f"{command}: {protocol}: {file.rpartition('.')[2]}: {way}"
                    yield Attempt("7 servers", name, partial(_act, protocol, file, way, command))


def _act(protocol: str, file: str, way: str, command: str, scene: Scene) -> None:
    import os

    from tests.support.hostile_server import serve_hostile
    from tests.support.places import quick_patience

    os.environ |= ENVIRONMENT
    scene.outside.exists()
    with ExitStack() as held:
        held.enter_context(quick_patience())
        address = held.enter_context(serve_hostile(scene.base / "shards", {file: way}))
        os.environ["AWS_ENDPOINT_URL"] = address
        url = {"http": address, "s3": "s3://bucket/shards", "hf": "hf://datasets/org/toy"}[protocol]
        if protocol == "hf":
            _reach_hub(address)
        out = scene.folder / "out"
        out.mkdir()
        places = {"url": url, "out": out, "model": scene.base / "model"}
        scene.mmrs(*COMMANDS[command].format(**places).split(), may_pass=False)
    scene.check_files()


def _reach_hub(address: str) -> None:
    from huggingface_hub import HfFileSystem

    import mmrs.storage.protocols.hub as protocol

    hub = HfFileSystem(endpoint=address, token="hf_hunter2SECRET", skip_instance_cache=True)
    protocol.file_system = lambda url: hub  # type: ignore[assignment]
