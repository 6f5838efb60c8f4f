"""Seeds and parsers of what a fetch reads of strangers: archives, listings of services and of programs, its own notes.

Nothing is written and nobody is asked: what a server would answer is handed to the code that reads it.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from mmrs.fetch import record
from mmrs.fetch.archives.limits import ArchiveLimits, Tally
from mmrs.fetch.archives.members import NeedsTool, archive_members, explained_damage
from mmrs.fetch.archives.tools import parse_lsar, parse_seven_zip
from mmrs.fetch.archives.volumes import ArchiveKind, ArchiveVolumes
from mmrs.fetch.catalogue import GithubLfsPart, GithubReleasePart, ZenodoPart
from mmrs.fetch.http_client import Address
from mmrs.fetch.record import LockFile, SourceRecord
from mmrs.fetch.services import drive, endpoints, github, zenodo

Parse = Callable[[bytes], Any]
FILES = {"set/a.jpg": b"a" * 300, "set/b.txt": b"1 2 3\n", "set/c.bin": bytes(range(256)) * 8}
COMMIT = "6d77849" + "0" * 33
ENDPOINTS = endpoints.Endpoints()
LSAR = json.dumps(
    {
        "lsarContents": [
            {"XADFileName": "set/a.jpg", "XADFileSize": 300, "XADPosixPermissions": 33188},
            {"XADFileName": "set", "XADFileSize": 0, "XADIsDirectory": 1},
        ]
    }
).encode()
SEVEN_ZIP = b"Path = set\nFolder = +\nSize = 0\nAttributes = D drwxr-xr-x\n\nPath = set/a.jpg\nFolder = -\nSize = 300\n"
RELEASE = {"assets": [{"name": "a.zip", "size": 3, "digest": f"sha256:{'0' * 64}"}]}
RECORD = {"files": [{"key": "a.zip", "size": 3, "checksum": f"md5:{'0' * 32}"}]}
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 3\n".encode()
PAGE = (
    b'<html><form id="download-form" action="https://drive.usercontent.google.com/download" method="get">\n'
    b'<input type="hidden" name="id" value="1"><input type="hidden" name="confirm" value="t"></form></html>'
)
QUOTA = b'<p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently.</p>'
LOCK = {"sources": {"a": {"files": {"x": {"sha256": "0" * 64, "size": 3, "first_fetched": "2026-12-01"}}}}}
SOURCE = {"files": {"x": {"sha256": "0" * 64, "size": 3, "placed": [["a/b.jpg", 3]]}}, "parts": {"0": ["x"]}}


def fetch_parsers() -> dict[str, tuple[bytes, Parse]]:
    """Name -> seed and parser."""
    return {
        "zip": (_zip(), lambda data: read_archive(data, "zip")),
        "tar of a fetch": (_tar("w"), lambda data: read_archive(data, "tar")),
        "tar.gz": (_tar("w:gz"), lambda data: read_archive(data, "gzip")),
        "tar.bz2": (_tar("w:bz2"), lambda data: read_archive(data, "bzip2")),
        "listing of lsar": (LSAR, lambda data: list(parse_lsar(data.decode(errors="surrogateescape")))),
        "listing of 7z": (SEVEN_ZIP, lambda data: list(parse_seven_zip(data.decode(errors="surrogateescape")))),
        "zenodo": (_json(RECORD), lambda data: answered(data, zenodo.zenodo_files, ZenodoPart(
            service="zenodo", record=1), ENDPOINTS, 1.0)),
        "github tree": (_json(_tree()), read_tree),
        "github commit": (_json({"sha": COMMIT, "commit": {"tree": {"sha": "0" * 40}}}), lambda data: answered(
            data, github._commit, "a/b", COMMIT[:7], ENDPOINTS, 1.0)),
        "github release": (_json(RELEASE), lambda data: answered(data, github.attached_files, GithubReleasePart(
            service="github-release", repo="a/b", tag="v1", files=({"name": "a.zip"},)), ENDPOINTS, 1.0)),
        "lfs pointer": (POINTER, read_pointer),
        "drive page": (PAGE, read_page),
        "drive quota": (QUOTA, read_page),
        "lock file of fetches": (_json(LOCK), lambda data: noted(data, LockFile)),
        "record of fetches": (_json(SOURCE), lambda data: noted(data, SourceRecord)),
    }  # fmt: skip


def read_archive(data: bytes, kind: ArchiveKind) -> None:
    """All members of an archive, and their content."""

    class InMemory(ArchiveVolumes):
        def open(self) -> io.BufferedReader:
            return io.BufferedReader(io.BytesIO(data))  # type: ignore[arg-type]

    archive = InMemory((Path("x"),))
    tally = Tally("x", ArchiveLimits(expansion_floor=2**22), len(data))
    try:
        with explained_damage("x"):
            for member in archive_members(archive, kind, tally, lambda path: True):
                for _ in member.pieces():
                    pass
    except NeedsTool:
        return


def answered(data: bytes, ask: Callable[..., Any], *arguments: Any) -> Any:
    """What `ask` makes of a service that answers with `data`."""
    with patch.object(endpoints, "read_small", lambda *given: data):
        return ask(*arguments)


def noted(data: bytes, model: type) -> Any:
    """A file of the data folder's own record."""
    with patch.object(record, "read_plain_file", lambda path: data):
        return record._parsed(Path("x"), model)


def read_tree(data: bytes) -> Any:
    listing = github._Listing("a/b", ENDPOINTS, 1.0)
    # Whatever is listed has the right hash: it is what comes after that is looked at.
    with patch.object(github, "_tree_hash", _any_hash):
        return answered(data, listing.blobs, "0" * 40, "", ("set/a.jpg",))


def _any_hash(rows: list[dict[str, Any]]) -> str:
    _TREE_HASH(rows)
    # A tree in the tree would be asked for without end.
    return "0" * 40 if all(row["type"] != "tree" for row in rows) else "1" * 40


_TREE_HASH = github._tree_hash


def read_pointer(data: bytes) -> Any:
    part = GithubLfsPart(service="github-lfs", repo="a/b", commit=COMMIT, files=({"name": "a.zip"},))
    with (
        patch.object(github, "read_small", lambda *given: data),
        patch.object(github, "_commit", lambda *given: (COMMIT, "0" * 40)),
    ):
        return github.lfs_files(part, ENDPOINTS, "", 1.0)


def read_page(data: bytes) -> Any:
    class Page:
        headers: dict[str, str] = {}  # noqa: RUF012
        content = data

        def read_some(self, most_bytes: int) -> bytes:
            content, self.content = self.content, b""
            return content

        def __enter__(self) -> Page:
            return self

        def __exit__(self, *exception: object) -> None:
            return None

    with patch.object(drive, "open_address", lambda *given: Page()):
        return drive._find("https://drive.google.com/x", Address("https://drive.google.com/x", ("x",), {}), 1.0)


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in FILES.items():
            packed.writestr(name, content)
    return out.getvalue()


def _tar(mode: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=tarfile.PAX_FORMAT, pax_headers={"comment": "x"}) as packed:  # type: ignore[call-overload]
        for name, content in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _tree() -> dict[str, Any]:
    sha = hashlib.sha1(b"blob 0\0").hexdigest()
    row = {"path": "set", "mode": "100644", "type": "blob", "sha": sha, "size": 0}
    return {"sha": "0" * 40, "truncated": False, "tree": [row, {**row, "path": "other"}]}


def _json(content: object) -> bytes:
    return json.dumps(content).encode()
