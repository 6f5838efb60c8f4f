"""An S3 server on loopback (moto, in a process of its own) and a proxy before it that can refuse, cut and delay."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Fault = Literal["refuse", "cut request", "cut answer", "delay"]
# What to do with the n-th request (from 0) of a method to a path; None lets it through.
Faults = Callable[[int, str, str], Fault | None]

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "do-not-print-this",
    "AWS_DEFAULT_REGION": "us-east-1",
}
SECONDS_OF_DELAY = 0.5


@contextmanager
def s3_server() -> Iterator[int]:
    """Run a server without any data; yields its port on 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()


@contextmanager
def faulty_proxy(port: int, faults: Faults) -> Iterator[tuple[int, list[str]]]:
    """A proxy before the server at `port`; yields its own port and the list of requests that it has seen.

    ``refuse`` answers 503 SlowDown, ``cut request`` hangs up without passing the request on, ``cut answer`` passes it
    on and hangs up in the middle of the answer, ``delay`` waits `SECONDS_OF_DELAY` first.
    """
    seen: list[str] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                fault = faults(len(seen), self.command, self.path)
                seen.append(f"{self.command} {self.path}{f' ({fault})' if fault else ''}")
            if fault == "refuse":
                self._answer(503, {"Content-Type": "application/xml"}, b"<Error><Code>SlowDown</Code></Error>")
                return
            if fault == "cut request":
                self.close_connection = True
                return
            if fault == "delay":
                time.sleep(SECONDS_OF_DELAY)
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            headers = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP}
            self._answer(answer.status, headers, content, cut=fault == "cut answer")

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _forward

        def _answer(self, status: int, headers: dict[str, str], content: bytes, cut: bool = False) -> None:
            self.send_response_only(status)
            # The answer to HEAD states the length of what it does not send.
            length = headers.pop("Content-Length", "0") if self.command == "HEAD" else str(len(content))
            for name, value in (headers | {"Content-Length": length}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[: len(content) // 2] if cut else content)
            self.close_connection = self.close_connection or cut

        def log_message(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *args: object) -> None:
            pass  # clients hang up on purpose here

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server.server_address[1], seen
        finally:
            server.shutdown()
            thread.join()


_HOP_BY_HOP = {"connection", "transfer-encoding", "server", "date"}
