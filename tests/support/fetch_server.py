"""A server on loopback that files are fetched from: ranges, ETags, redirects, and faults by plan.

It also answers as GitHub's and Zenodo's interfaces and as Google Drive do, as far as a fetch asks them.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

HOSTS = ("127.0.0.1", "localhost")


@dataclass
class FileServer:
    """Its files by path, and what it does to the requests of each: the n-th gets ``plans[path][n]``, the rest `ok`.

    `ok`; `cut` (half of the body, then the end of the connection); `stall` (the same, then silence); `short` (half of
    the body under a length that agrees with it); `long` (more than was stated before); `drip`; `all` (ignores ranges);
    `packed`; a status such as `500`, or `429:SECONDS` with Retry-After. ``redirects`` maps a path to an address.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    pages: dict[str, bytes] = field(default_factory=dict)
    plans: dict[str, list[str]] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    with_etags: bool = True
    log: list[tuple[str, str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    released: threading.Event = field(default_factory=threading.Event)

    def asked(self, path: str) -> list[str]:
        """The ``Range`` of each request for a path, empty where there was none."""
        return [ranges for name, ranges, _ in self.log if name == path]

    def fault(self, path: str) -> str:
        with self.lock:
            plan = self.plans.get(path, [])
            return plan.pop(0) if plan else "ok"

    def put_github(self, repo: str, commit: str, files: Mapping[str, bytes]) -> None:
        """A commit as the interface, the raw files and the archive of GitHub show it."""
        import io
        import tarfile

        root = _put_tree(self, f"/api/repos/{repo}/git/trees", files)
        page = json.dumps({"sha": commit, "commit": {"tree": {"sha": root}}}).encode()
        for asked in (commit[:7], commit[:8], "HEAD"):
            self.pages[f"/api/repos/{repo}/commits/{asked}"] = page
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.PAX_FORMAT, pax_headers={"comment": commit}) as tar:
            for path, content in files.items():
                self.files[f"/raw/{repo}/{commit}/{path}"] = content
                info = tarfile.TarInfo(f"{repo.partition('/')[2]}-{commit}/{path}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        self.files[f"/archives/{repo}/tar.gz/{commit}"] = out.getvalue()

    def put_lfs(self, repo: str, commit: str, name: str, content: bytes) -> None:
        """A large file of a commit, and its pointer in it."""
        oid = hashlib.sha256(content).hexdigest()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"
        self.files[f"/raw/{repo}/{commit}/{name}"] = pointer.encode()
        self.files[f"/media/{repo}/{commit}/{name}"] = content

    def put_release(self, repo: str, tag: str, files: Mapping[str, bytes]) -> None:
        """Files attached to a release."""
        assets = []
        for name, content in files.items():
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            assets.append({"name": name, "size": len(content), "digest": digest})
            self.files[f"/{repo}/releases/download/{tag}/{name}"] = content
        self.pages[f"/api/repos/{repo}/releases/tags/{tag}"] = json.dumps({"assets": assets}).encode()

    def put_zenodo(self, record: int, files: Mapping[str, bytes]) -> None:
        rows = []
        for name, content in files.items():
            checksum = f"md5:{hashlib.md5(content).hexdigest()}"
            rows.append({"key": name, "size": len(content), "checksum": checksum})
            self.files[f"/api/records/{record}/files/{name}/content"] = content
        self.pages[f"/api/records/{record}"] = json.dumps({"files": rows}).encode()


def _put_tree(server: FileServer, where: str, files: Mapping[str, bytes]) -> str:
    folders: dict[str, dict[str, bytes]] = {}
    rows: list[dict[str, Any]] = []
    for path, content in files.items():
        first, slash, rest = path.partition("/")
        if slash:
            folders.setdefault(first, {})[rest] = content
        else:
            rows.append(
                {"path": first, "mode": "100644", "type": "blob", "sha": git_blob(content), "size": len(content)}
            )
    for name, inner in folders.items():
        rows.append({"path": name, "mode": "040000", "type": "tree", "sha": _put_tree(server, where, inner)})
    rows.sort(key=lambda row: row["path"] + ("/" if row["type"] == "tree" else ""))
    content = b"".join(
        f"{row['mode'].lstrip('0')} {row['path']}".encode() + b"\0" + bytes.fromhex(row["sha"]) for row in rows
    )
    digest = hashlib.sha1(f"tree {len(content)}\0".encode() + content).hexdigest()
    server.pages[f"{where}/{digest}"] = json.dumps({"sha": digest, "tree": rows, "truncated": False}).encode()
    return digest


def git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    served: FileServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        """Keeps the test's output clean."""

    def do_GET(self) -> None:
        path = unquote(self.path)
        bare = path.partition("?")[0]
        secret = self.headers.get("Authorization", "")
        self.served.log.append((path, self.headers.get("Range", ""), secret))
        self.close_connection = True
        with suppress(BrokenPipeError, ConnectionResetError):
            if path in self.served.redirects:
                self._send(302, {"Location": self.served.redirects[path]}, b"")
            elif path in self.served.pages:
                self._send(200, {"Content-Type": "text/html"}, self.served.pages[path])
            elif path in self.served.files or bare in self.served.files:
                name = path if path in self.served.files else bare
                self._deliver(self.served.files[name], self.served.fault(name))
            else:
                self._send(404, {}, b"no such file")

    def _deliver(self, content: bytes, fault: str) -> None:
        status, _, seconds = fault.partition(":")
        if status.isdecimal():
            self._send(int(status), {"Retry-After": seconds} if seconds else {}, b"planned")
            return
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        headers = {"ETag": etag} if self.served.with_etags else {}
        headers["Content-Disposition"] = "attachment"
        if fault == "packed":
            headers["Content-Encoding"] = "gzip"
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        is_same = self.headers.get("If-Range", etag) == etag
        code, body = 200, content
        if asked and is_same and fault != "all":
            first, last = int(asked[1]), min(int(asked[2] or len(content) - 1), len(content) - 1)
            if first >= len(content):
                self._send(416, {"Content-Range": f"bytes */{len(content)}"}, b"")
                return
            code, body = 206, content[first : last + 1]
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        half = body[: len(body) // 2]
        if fault in ("cut", "stall"):
            self._send(code, headers, half, len(body))
            if fault == "stall":
                self.served.released.wait(10)
        elif fault == "short":
            self._send(code, headers, half)
        elif fault == "drip":
            self._send(code, headers, b"", len(body))
            while not self.served.released.wait(0.05):
                self.wfile.write(b"x")
        else:
            self._send(code, headers, body + b"x" * 99 if fault == "long" else body)

    def _send(self, status: int, headers: Mapping[str, str], body: bytes, length: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


@contextmanager
def serve_files(files: Mapping[str, bytes] | None = None) -> Iterator[FileServer]:
    """Run a server until the block ends."""
    served = FileServer(files=dict(files or {}))
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"served": served}))
    server.daemon_threads = True
    server.handle_error = lambda *arguments: None  # type: ignore[method-assign]
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        served.released.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
