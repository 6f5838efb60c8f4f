"""A server on loopback that answers as no sound server does; one name for each way, over http, as S3 and as the Hub.

``long`` states a size of terabytes, ``endless`` never ends, ``dripping`` sends a byte now and then, ``packed`` is a
bomb, ``other-host`` and ``other-scheme`` redirect to where nobody asked to go, ``around`` to itself. It can deliver a
folder as well, all of it soundly but for some files.
"""

from __future__ import annotations

import gzip
import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

PACKED = gzip.compress(bytes(10**7))


WAYS = (
    *("endless", "long", "packed", "dripping", "dripping-headers", "endless-refusal"),
    *("other-host", "other-scheme", "around"),
)


class Handler(BaseHTTPRequestHandler):
    """The last part of a path is what is done, unless it is a file of `folder` that is not `attacked`."""

    folder: ClassVar[Path | None] = None
    attacked: ClassVar[Mapping[str, str]] = {}

    def do_GET(self):
        with suppress(BrokenPipeError, ConnectionResetError):
            if "/tree/" in self.path:
                self.said([])
            elif self.path.startswith("/api/"):
                self.said({"id": "org/toy", "sha": "0" * 40, "siblings": []})
            elif self.folder is None:
                self.act(self.path.rpartition("/")[2])
            else:
                self.deliver("/".join(self.path.split("/")[-2:]))

    do_HEAD = do_GET

    def act(self, way):
        getattr(self, way.replace("-", "_"))()

    def deliver(self, name):
        path = self.folder / name
        if not path.is_file():
            path = self.folder / path.name
        if path.name in self.attacked:
            self.act(self.attacked[path.name])
        elif path.is_file():
            content = path.read_bytes()
            self.answer(Content_Length=str(len(content)))
            self.wfile.write(content)
        else:
            self.answer(404)

    def do_POST(self):
        """What the Hub says of a name."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.said([{"type": "file", "path": "x", "size": 5, "oid": "0" * 40}])

    def said(self, content):
        data = json.dumps(content).encode()
        self.answer(Content_Length=str(len(data)))
        self.wfile.write(data)

    def answer(self, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def sound(self):
        self.answer(Content_Length="5")
        self.wfile.write(b"sound")

    def endless(self):
        self.answer()
        while True:
            self.wfile.write(bytes(2**16))

    def long(self):
        self.answer(Content_Length=str(10**12))

    def half(self):
        self.answer(Content_Length="1000")
        self.wfile.write(b"half")

    def packed(self):
        self.answer(Content_Encoding="gzip", Content_Length=str(len(PACKED)))
        self.wfile.write(PACKED)

    def dripping(self):
        self.answer()
        for _ in range(100):
            self.wfile.write(b"x")
            time.sleep(0.1)

    def dripping_headers(self):
        self.wfile.write(b"HTTP/1.0 200 OK\r\n")
        for number in range(100):
            self.wfile.write(b"X-%d: x\r\n" % number)
            time.sleep(0.1)

    def endless_refusal(self):
        self.answer(500)
        while True:
            self.wfile.write(bytes(2**16))

    def same_host(self):
        self.answer(302, Location="sound")

    def other_host(self):
        self.answer(302, Location=f"http://localhost:{self.server.server_address[1]}/sound")

    def token(self):
        self.answer()
        self.wfile.write(str(self.headers.get("Authorization")).encode())

    def token_elsewhere(self):
        self.answer(302, Location=f"http://localhost:{self.server.server_address[1]}/token")

    def other_scheme(self):
        self.answer(302, Location="file:///etc/passwd")

    def around(self):
        self.answer(302, Location=self.path)

    def log_message(self, *arguments):
        pass


@contextmanager
def serve_hostile(
    folder: Path | None = None, attacked: Mapping[str, str] | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """The server's URL.

    Args:
        folder: is delivered; None: the last part of a path is the way to answer.
        attacked: names of files of it, each with the way to answer instead.
        tls: over https, with its certificate.
    """
    handler = type("OneHandler", (Handler,), {"folder": folder, "attacked": attacked or {}})
    made = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    made.daemon_threads = True
    if tls is not None:
        # Clients hang up in the middle of a handshake on purpose.
        made.handle_error = lambda *arguments: None
        made.socket = tls.wrap_socket(made.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"{'http' if tls is None else 'https'}://127.0.0.1:{made.server_address[1]}"
    finally:
        made.shutdown()
        made.server_close()
        thread.join(5)
