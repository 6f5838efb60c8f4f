"""A server of which nothing is believed: endless, slow, packed and redirecting answers end the reading in time."""

import gzip
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("aiohttp", reason="shards over http need aiohttp")

from mmrs.errors import RunFailure, UserError
from mmrs.storage.download import RemoteReader
from mmrs.storage.retry import Patience

QUICK = Patience(tries=2, first_wait_seconds=0.01, longest_wait_seconds=0.01, stall_seconds=0.4)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        with suppress(BrokenPipeError, ConnectionResetError):
            getattr(self, self.path.strip("/").replace("-", "_"))()

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

    def packed(self):
        self.answer(Content_Encoding="gzip")
        self.wfile.write(gzip.compress(bytes(10**7)))

    def dripping(self):
        self.answer()
        for _ in range(100):
            self.wfile.write(b"x")
            time.sleep(0.1)

    def same_host(self):
        self.answer(302, Location="/sound")

    def other_host(self):
        self.answer(302, Location=f"http://localhost:{self.server.server_address[1]}/sound")

    def other_scheme(self):
        self.answer(302, Location="file:///etc/passwd")

    def around(self):
        self.answer(302, Location="/around")

    def log_message(self, *arguments):
        pass


@contextmanager
def server():
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield RemoteReader(f"http://127.0.0.1:{made.server_address[1]}", QUICK)
    finally:
        made.shutdown()
        made.server_close()
        thread.join(5)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("endless", RunFailure, r"has more than 97.7 KiB"),
        ("long", RunFailure, r"has more than 97.7 KiB"),
        ("packed", UserError, r"packed \('gzip'\)"),
        ("dripping", RunFailure, r"2 tries failed, the last with EOFError: too slow, \d+ bytes in \d s"),
        ("other-host", UserError, r"redirects to http://localhost, another host.*MMRS_REDIRECT_HOSTS=localhost"),
        ("other-scheme", UserError, r"redirects to file://"),
        ("around", UserError, r"more than 5 redirects"),
    ],
)
def test_an_answer_that_no_data_set_gives_ends_the_reading(name, kind, words):
    with server() as reader, pytest.raises(kind, match=words):
        started = time.monotonic()
        try:
            reader.read(name, 100_000)
        finally:
            assert time.monotonic() - started < 10


def test_redirects_that_are_right_are_followed(monkeypatch):
    with server() as reader:
        assert reader.read("sound", 5) == reader.read("same-host", 5) == b"sound"
        monkeypatch.setenv("MMRS_REDIRECT_HOSTS", "example.org, localhost")
        assert reader.read("other-host", 5) == b"sound"
