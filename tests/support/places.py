"""A data set served on loopback over http (nginx) and as S3 (moto), with or without faults on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.s3_server import ENVIRONMENT, s3_server
from tests.support.servers import NGINX, Faults, serve_faults, serve_nginx

needs_servers = pytest.mark.skipif(NGINX is None, reason="no nginx: apt-get install nginx-light")
# One fault at a time: two equal wrong answers in a row are a damaged file, not a damaged answer.
_QUICK_FAULTS = ("flip", "ok", "500", "short", "ok", "cut", "ok", "ok")
# A stall costs half a second of waiting, so it comes every third time.
EVERY_FAULT = (*_QUICK_FAULTS, *_QUICK_FAULTS, "flip", "ok", "500", "short", "ok", "cut", "stall", "ok") * 14


@dataclass(frozen=True)
class Served:
    """Where one data set lies, by kind of place: ``folder``, ``http``, ``s3``."""

    folder: Path
    http: str
    s3_endpoint: str

    @contextmanager
    def at(self, kind: str, patch: pytest.MonkeyPatch, faults: Sequence[str] = ()) -> Iterator[Path | str]:
        """The location to type; requests to it suffer `faults`, one after the other."""
        if kind == "folder":
            yield self.folder
            return
        server = self.http if kind == "http" else self.s3_endpoint
        if not faults:
            yield self._location(kind, server, patch)
            return
        plan = Faults(faults, stall_s=2.0)
        with serve_faults(server, plan) as proxy:
            yield self._location(kind, proxy, patch)
        assert {"flip", "500", "short", "cut"} <= {fault for _, fault in plan.log}

    def _location(self, kind: str, server: str, patch: pytest.MonkeyPatch) -> str:
        if kind == "http":
            return f"{server}/{self.folder.name}"
        reach_s3(server, patch)
        return f"s3://bucket/{self.folder.name}"


def reach_s3(endpoint: str, patch: pytest.MonkeyPatch) -> None:
    """Let clients made from now on go there, in child processes too."""
    import s3fs

    for name, value in ENVIRONMENT.items():
        patch.setenv(name, value)
    patch.setenv("AWS_ENDPOINT_URL", endpoint)
    s3fs.S3FileSystem.clear_instance_cache()


@contextmanager
def served(folder: Path, state: Path) -> Iterator[Served]:
    """Serve the data set in `folder`; files of the servers go to `state`."""
    import fsspec

    with serve_nginx(folder.parent, state) as http, s3_server() as port, pytest.MonkeyPatch.context() as patch:
        endpoint = f"http://127.0.0.1:{port}"
        reach_s3(endpoint, patch)
        store = fsspec.filesystem("s3")
        store.mkdir("bucket")
        store.put(f"{folder}/", f"bucket/{folder.name}/", recursive=True)
        yield Served(folder, http, endpoint)


@contextmanager
def quick_patience() -> Iterator[None]:
    """Short waits and early ends of silence, for commands that are not told how patient to be."""
    from mmrs.storage.retry import DEFAULT_PATIENCE

    quick = {"tries": 12, "first_wait_seconds": 0.01, "longest_wait_seconds": 0.05, "stall_seconds": 0.5}
    usual = {name: getattr(DEFAULT_PATIENCE, name) for name in quick}
    try:
        for name, value in quick.items():
            object.__setattr__(DEFAULT_PATIENCE, name, value)
        yield
    finally:
        for name, value in usual.items():
            object.__setattr__(DEFAULT_PATIENCE, name, value)
