"""Servers on loopback that deliver a folder: nginx, a proxy that injects faults, and S3."""

from __future__ import annotations

import http.client
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

NGINX = shutil.which("nginx") or ("/usr/sbin/nginx" if Path("/usr/sbin/nginx").exists() else None)
_CONFIGURATION = """
daemon off; master_process off; worker_processes 1; pid {state}/pid; error_log {state}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {state}/body; proxy_temp_path {state}/proxy; fastcgi_temp_path {state}/fastcgi;
  uwsgi_temp_path {state}/uwsgi; scgi_temp_path {state}/scgi; gzip on; gzip_types *;
  server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


@contextmanager
def serve_nginx(root: Path, state: Path) -> Iterator[str]:
    """The URL of an nginx that delivers `root`; its files go to `state`."""
    port = free_port()
    state.mkdir(parents=True, exist_ok=True)
    (state / "nginx.conf").write_text(_CONFIGURATION.format(state=state, port=port, root=root))
    process = subprocess.Popen(
        [str(NGINX), "-e", str(state / "error.log"), "-c", str(state / "nginx.conf")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@dataclass
class Faults:
    """What a proxy does to the requests that come: the n-th gets ``plan[n]``, all after the last one pass.

    Only paths that hold `within` are counted; what is sent to a server passes.

    `ok`; `500`; `stall`: the headers and half of the body, then silence; `cut`: half of the body, then the end of the
    connection; `short`: half of the body under a Content-Length that agrees with it; `flip`: one byte is wrong.
    """

    plan: Sequence[str] = ()
    stall_s: float = 5.0
    within: str = ""
    log: list[tuple[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    released: threading.Event = field(default_factory=threading.Event)

    def next(self, path: str) -> str:
        if self.within not in path:
            return "ok"
        with self.lock:
            fault = self.plan[len(self.log)] if len(self.log) < len(self.plan) else "ok"
            self.log.append((path, fault))
        return fault


@contextmanager
def serve_faults(upstream: str, faults: Faults) -> Iterator[str]:
    """The URL of a proxy before `upstream`."""
    handler = type("Handler", (_Proxy,), {"upstream": urlsplit(upstream), "faults": faults})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        faults.released.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments: Any) -> None:
        """Clients hang up on purpose here."""


_PASSED_ON = ("Content-Range", "ETag", "Location", "X-Error-Code", "X-Error-Message")


class _Proxy(BaseHTTPRequestHandler):
    upstream: Any
    faults: Faults
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        """Keeps the test's output clean."""

    def do_GET(self) -> None:
        fault = self.faults.next(self.path)
        if fault == "500":
            self._answer(500, {}, b"planned", 7)
            return
        response, body = self._ask()
        headers = {name: response.headers[name] for name in _PASSED_ON if name in response.headers}
        half, length = body[: len(body) // 2], len(body)
        if fault in ("stall", "cut"):
            self._answer(response.status, headers, half, length)
            self.close_connection = True
            if fault == "stall":
                self.faults.released.wait(self.faults.stall_s)
        elif fault == "short":
            self._answer(response.status, headers, half, len(half))
        elif fault == "flip":
            self._answer(response.status, headers, half + bytes([body[len(half)] ^ 1]) + body[len(half) + 1 :], length)
        else:
            self._answer(response.status, headers, body, length)

    def do_POST(self) -> None:
        response, body = self._ask(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        self._answer(response.status, {}, body, len(body))

    def do_HEAD(self) -> None:
        response, _ = self._ask()
        self._answer(response.status, {}, b"", int(response.headers.get("Content-Length", 0)))

    def _ask(self, sent: bytes | None = None) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection(self.upstream.hostname, self.upstream.port, timeout=20)
        connection.request(self.command, self.path, sent, headers=dict(self.headers.items()))
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response, body

    def _answer(self, status: int, headers: dict[str, str], body: bytes, length: int) -> None:
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True


@contextmanager
def serve_s3() -> Iterator[str]:
    """The URL of moto's S3."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port: int, seconds: float = 10.0) -> None:
    """Until something listens there."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens on port {port}")
