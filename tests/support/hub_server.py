"""A small server on loopback: the part of the Hugging Face Hub's protocol that pushes,
downloads and streams of data sets and models use.

Git-LFS transfer (``basic``), commits as NDJSON, tree and file information, downloads with ranges and a redirect for
large files. Faults are planned by method and path: a status a number of times, a delay, a cut connection.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep  # tests replace `time.sleep` to shorten the clients' waits, not the server's
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_LoopbackTestToken0123456789"
PAGE = 3


@dataclass
class Fault:
    """Answers requests that match with `status`, the first `times` of them, after `delay_s`.

    `status` 0 cuts the connection, None only delays. `applied` does the work before the connection is cut, as when an
    answer is lost. `echo` sends the client's token back in the error's text.
    """

    method: str
    path: str
    times: int = 1
    status: int | None = 500
    delay_s: float = 0.0
    applied: bool = False
    echo: bool = False


@dataclass
class Repo:
    private: bool
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)  # path -> ("lfs" | "regular", content)
    commits: list[dict[str, Any]] = field(default_factory=list)

    @property
    def head(self) -> str:
        return hashlib.sha1(str(len(self.commits)).encode()).hexdigest()


@dataclass
class Hub:
    """The state that tests look at. `log` has one (method, path, bytes received) for every request."""

    url: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    log: list[tuple[str, str, int]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def calls(self, method: str, pattern: str) -> list[tuple[str, str, int]]:
        return [call for call in self.log if call[0] == method and re.search(pattern, call[1])]

    def fault_for(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and fault.method in (method, "*") and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return None


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """Run a server until the block ends."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # header and body in one packet: two would wait 40 ms for each other
    timeout = 30

    def log_message(self, *arguments: Any) -> None:
        """Keeps the test's output clean."""

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self) -> None:
        split = urlsplit(self.path)
        self.route, self.query = unquote(split.path), parse_qs(split.query)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.log.append((self.command, self.path, len(self.body)))
        fault = self.hub.fault_for(self.command, self.route)
        if fault is not None:
            sleep(fault.delay_s)
            if fault.status == 0:
                self.close_connection = True
                if fault.applied:
                    self._routed()
                return
            if fault.status is not None:
                said = self.headers.get("Authorization", "") if fault.echo else "planned fault"
                return self._error(fault.status, said)
        self._send(*self._routed())

    def _routed(self) -> tuple:
        for pattern, name in _ROUTES:
            if match := re.fullmatch(pattern, self.route):
                with self.hub.lock:
                    return getattr(self, name)(*match.groups())
        return 404, {}, {"error": f"no such route: {self.route}"}

    def _send(self, status: int, headers: dict[str, str], content: bytes | dict | list) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _error(self, status: int, message: str, code: str = "") -> None:
        self._send(status, {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}, {"error": message})

    def _authorised(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _repo(self, name: str) -> Repo | None:
        repo = self.hub.repos.get(name)
        return repo if repo is not None and (not repo.private or self._authorised()) else None

    def _missing(self, what: str = "RepoNotFound") -> tuple[int, dict[str, str], dict]:
        return 404, {"X-Error-Code": what, "X-Error-Message": what}, {"error": what}

    def whoami(self) -> tuple:
        if not self._authorised():
            return 401, {"X-Error-Message": "Invalid credentials in Authorization header"}, {}
        return 200, {}, {"type": "user", "name": "tester", "orgs": []}

    def create(self) -> tuple:
        if not self._authorised():
            return 401, {}, {"error": "Unauthorized"}
        asked = json.loads(self.body)
        name = f"{asked['organization'] or 'tester'}/{asked['name']}"
        if name in self.hub.repos:
            return 409, {}, {"error": "exists", "url": f"{self.hub.url}/datasets/{name}"}
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.repos[name] = Repo(private, {".gitattributes": ("regular", b"*.tar filter=lfs\n")})
        return 200, {}, {"url": f"{self.hub.url}/datasets/{name}", "name": name}

    def info(self, name: str, revision: str | None = None) -> tuple:
        if (repo := self._repo(name)) is None:
            return self._missing()
        siblings = [{"rfilename": path} for path in sorted(repo.files)]
        base = {"_id": "0", "id": name, "author": name.partition("/")[0], "sha": repo.head, "private": repo.private}
        times = {"lastModified": "2026-01-01T00:00:00.000Z", "createdAt": "2026-01-01T00:00:00.000Z"}
        return 200, {}, {**base, **times, "gated": False, "disabled": False, "tags": [], "siblings": siblings}

    def tree(self, name: str, revision: str, folder: str | None = None) -> tuple:
        if (repo := self._repo(name)) is None:
            return self._missing()
        prefix = f"{folder.strip('/')}/" if folder else ""
        inside = sorted(path for path in repo.files if path.startswith(prefix))
        if prefix and not inside:
            return self._missing("EntryNotFound")
        recursive = self.query.get("recursive", ["false"])[0].lower() in ("true", "1")
        entries = {}
        for path in inside:
            parts = path[len(prefix) :].split("/")
            for depth in range(1, len(parts)):
                sub = prefix + "/".join(parts[:depth])
                if recursive or depth == 1:
                    entries[sub] = {"type": "directory", "oid": "0" * 40, "size": 0, "path": sub}
            if recursive or len(parts) == 1:
                entries[path] = self._entry(repo, path)
        rows, start = list(entries.values()), int(self.query.get("cursor", ["0"])[0])
        headers = {}
        if start + PAGE < len(rows):
            url = f"{self.hub.url}{urlsplit(self.path).path}?recursive={recursive}&cursor={start + PAGE}"
            headers["Link"] = f'<{url}>; rel="next"'
        return 200, headers, rows[start : start + PAGE]

    def paths(self, name: str, revision: str) -> tuple:
        if (repo := self._repo(name)) is None:
            return self._missing()
        asked = json.loads(self.body)["paths"] if self.body[:1] == b"{" else parse_qs(self.body.decode())["paths"]
        rows = []
        for path in asked:
            if path in repo.files:
                rows.append(self._entry(repo, path))
            elif any(known.startswith(path.rstrip("/") + "/") for known in repo.files):
                rows.append({"type": "directory", "oid": "0" * 40, "size": 0, "path": path})
        return 200, {}, rows

    @staticmethod
    def _entry(repo: Repo, path: str) -> dict[str, Any]:
        kind, content = repo.files[path]
        entry = {"type": "file", "path": path, "size": len(content), "oid": _blob(content)}
        if kind == "lfs":
            digest = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
        return entry

    def preupload(self, name: str, revision: str) -> tuple:
        if (repo := self._repo(name)) is None:
            return self._missing()
        if not self._authorised():
            return 401, {}, {"error": "Unauthorized"}
        files = []
        for asked in json.loads(self.body)["files"]:
            large = asked["path"].endswith((".tar", ".parquet", ".png")) or asked["size"] > 10 * 2**20
            known = repo.files.get(asked["path"])
            oid = None
            if known is not None:
                oid = hashlib.sha256(known[1]).hexdigest() if known[0] == "lfs" else _blob(known[1])
            mode = "lfs" if large else "regular"
            files.append({"path": asked["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return 200, {}, {"files": files}

    def batch(self, name: str) -> tuple:
        objects = []
        for asked in json.loads(self.body)["objects"]:
            entry = {"oid": asked["oid"], "size": asked["size"]}
            if asked["oid"] not in self.hub.objects:
                upload = {"href": f"{self.hub.url}/storage/{asked['oid']}?signature=secret"}
                verify = {"href": f"{self.hub.url}/verify/{asked['oid']}"}
                entry["actions"] = {"upload": upload, "verify": verify}
            objects.append(entry)
        return 200, {"Content-Type": "application/vnd.git-lfs+json"}, {"transfer": "basic", "objects": objects}

    def store(self, oid: str) -> tuple:
        if hashlib.sha256(self.body).hexdigest() != oid:
            return 400, {}, {"error": "the digest is another"}
        self.hub.objects[oid] = self.body
        return 200, {"ETag": oid}, {}

    def verify(self, oid: str) -> tuple:
        return (200, {}, {}) if oid in self.hub.objects else (404, {}, {"error": "not uploaded"})

    def commit(self, name: str, revision: str) -> tuple:
        if (repo := self._repo(name)) is None:
            return self._missing()
        if not self._authorised():
            return 401, {}, {"error": "Unauthorized"}
        files, touched, summary = dict(repo.files), [], ""
        for line in self.body.splitlines():
            item = json.loads(line)
            key, value = item["key"], item["value"]
            if key == "header":
                summary = value["summary"]
                continue
            touched.append(value["path"])
            if key == "file":
                files[value["path"]] = ("regular", base64.b64decode(value["content"]))
            elif key == "lfsFile":
                files[value["path"]] = ("lfs", self.hub.objects[value["oid"]])
            elif key == "deletedFile":
                del files[value["path"]]
        repo.files = files
        repo.commits.append({"summary": summary, "paths": touched})
        url = f"{self.hub.url}/datasets/{name}/commit/{repo.head}"
        return 200, {}, {"commitUrl": url, "commitOid": repo.head, "success": True}

    def validate(self) -> tuple:
        return 200, {}, {"errors": [], "warnings": []}

    def resolve(self, name: str, revision: str, path: str) -> tuple:
        if (repo := self._repo(name)) is None:
            return self._missing()
        if path not in repo.files:
            return self._missing("EntryNotFound")
        kind, content = repo.files[path]
        if kind == "regular":
            return self._ranged(content, {"X-Repo-Commit": repo.head, "ETag": f'"{_blob(content)}"'})
        digest = hashlib.sha256(content).hexdigest()
        headers = {"X-Repo-Commit": repo.head, "X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        # Clients stop at a redirect to another host, as the Hub's store of large files is.
        store = self.hub.url.replace("127.0.0.1", "localhost")
        return 302, headers | {"Location": f"{store}/cdn/{digest}?signature=secret"}, b""

    def cdn(self, digest: str) -> tuple:
        return self._ranged(self.hub.objects[digest], {"ETag": f'"{digest}"'})

    def _ranged(self, content: bytes, headers: dict[str, str]) -> tuple:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        headers |= {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if asked is None:
            return 200, headers | {"Content-Length": str(len(content))}, content
        first, last = int(asked[1]), min(int(asked[2] or len(content) - 1), len(content) - 1)
        if first >= len(content):
            return 416, {"Content-Range": f"bytes */{len(content)}"}, b""
        part = content[first : last + 1]
        return 206, headers | {"Content-Range": f"bytes {first}-{last}/{len(content)}"}, part


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


_NAME = r"([\w.-]+/[\w.-]+)"
_API = r"/api/(?:datasets|models)"
_ROUTES = (
    (r"/api/whoami-v2", "whoami"),
    (r"/api/repos/create", "create"),
    (r"/api/validate-yaml", "validate"),
    (rf"{_API}/{_NAME}", "info"),
    (rf"{_API}/{_NAME}/revision/([^/]+)", "info"),
    (rf"{_API}/{_NAME}/tree/([^/]+)(?:/(.*))?", "tree"),
    (rf"{_API}/{_NAME}/paths-info/([^/]+)", "paths"),
    (rf"{_API}/{_NAME}/preupload/([^/]+)", "preupload"),
    (rf"{_API}/{_NAME}/commit/([^/]+)", "commit"),
    (rf"(?:/datasets)?/{_NAME}\.git/info/lfs/objects/batch", "batch"),
    (r"/storage/([0-9a-f]{64})", "store"),
    (r"/verify/([0-9a-f]{64})", "verify"),
    (rf"(?:/datasets)?/{_NAME}/resolve/([^/]+)/(.+)", "resolve"),
    (r"/cdn/([0-9a-f]{64})", "cdn"),
)
