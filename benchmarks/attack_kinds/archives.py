"""Archives: the released one, whose parts may come from anybody, and tars of other people's WebDataset."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.attack_kinds.scene import Attempt, Scene
from benchmarks.attack_kinds.sound import picture

Members = list[tuple[tarfile.TarInfo, bytes]]


def _member(name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE, **fields: object) -> Members:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content) if kind == tarfile.REGTYPE else 0
    for key, value in fields.items():
        setattr(info, key, value)
    return [(info, content)]


def _row(question: str, answer: str) -> bytes:
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return json.dumps([{"image": "./data/x/a.jpg", "conversations": turns}]).encode()


MEMBERS: dict[str, Callable[[], Members]] = {
    "../": lambda: _member("data/../../evil.txt"),
    "an absolute path": lambda: _member("/tmp/evil.txt"),
    "a path of Windows": lambda: _member("data\\..\\..\\evil.txt"),
    "a link out": lambda: _member("data/a.json", kind=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "a hard link": lambda: _member("data/a.json", kind=tarfile.LNKTYPE, linkname="../../secret"),
    "a link, then a file through it": lambda: (
        _member("data/l", kind=tarfile.SYMTYPE, linkname="/tmp") + _member("data/l/evil.txt")
    ),
    "a device": lambda: _member("data/a.json", kind=tarfile.CHRTYPE),
    "a pipe": lambda: _member("data/a.json", kind=tarfile.FIFOTYPE),
    "a path twice": lambda: _member("data/json/a.json", b"[]") * 2,
    "a file as a folder": lambda: _member("data/json", b"[]") + _member("data/json/a.json", b"[]"),
    "a name of 60,000 letters": lambda: _member("data/" + "x" * 60_000),
    "4,000 folders": lambda: _member("data/" + "d/" * 4_000 + "a.json", b"[]"),
    "escapes in a name": lambda: _member("data/\x1b[2J\u202ea.jpg", picture()),
    "an end of line in a name": lambda: _member("data/a\nb.jpg", picture()),
    "100 MB of zeros": lambda: _member("data/a.jpg", bytes(100_000_000)),
    "a row of 100 MB": lambda: _member("data/json/a.json", b'[{"image": "' + b"x" * 100_000_000 + b'"}]'),
    "JSON of many levels": lambda: _member("data/json/a.json", b"[" * 200_000),
    "rows of other kinds": lambda: _member("data/json/a.json", b'[3, null, {"image": [], "conversations": {}}]'),
    "numbers that are none": lambda: _member("data/json/a.json", b'[{"image": NaN, "conversations": -1e999}]'),
    "spaces": lambda: _member("data/json/det.json", _row("x" + " " * 300_000 + "y", "a")),
    "there is": lambda: _member("data/json/det.json", _row("q", "there is " * 200_000)),
    "regions": lambda: _member("data/json/det.json", _row("short description [" * 30_000, "a")),
    "boxes asked for": lambda: _member(
        "data/json/det.json", _row("bounding box coordinate described as: " * 20_000, "a")
    ),
    "escapes in a row": lambda: _member("data/json/det.json", _row("\x1b[2J", "\u202e")),
}


def attempts() -> Iterator[Attempt]:
    """Every member in the released archive, packed and unpacked where it can be, and in tars that `verify` reads."""
    for name in MEMBERS:
        yield Attempt("2 archives", f"release ingest: {name}", partial(_ingest, name))
        yield Attempt("2 archives", f"verify of tars: {name}", partial(_verify, name))
    for name, make in STREAMS.items():
        yield Attempt("4 work", f"release ingest: {name}", partial(_stream, make))


def _tar(name: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in MEMBERS[name]():
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return buffer.getvalue()


def _ingest(name: str, scene: Scene) -> None:
    source = scene.folder / "in"
    source.mkdir()
    (source / "data.tar.gz.0").write_bytes(gzip.compress(_tar(name), 1))
    _take(scene, source)
    scene.claim(not Path("/tmp/evil.txt").exists(), "wrote to /tmp")
    scene.claim(not list(scene.folder.rglob("evil.txt")), "wrote a file by the name of a member")


def _take(scene: Scene, source: Path) -> None:
    out = scene.folder / "out"
    scene.mmrs("release", "ingest", source, "--out", out)
    if out.exists():
        scene.mmrs("release", "audit", out)


def _verify(name: str, scene: Scene) -> None:
    folder = scene.folder / "tars"
    folder.mkdir()
    (folder / "a.tar").write_bytes(_tar(name))
    scene.mmrs("verify", folder, "--workers", 1)
    scene.mmrs("verify", folder, "--workers", 1, "--repair-index")


def _bomb() -> bytes:
    """A stream of 2 MB that is a thousand times as much."""
    return gzip.compress(bytes(2**20)) * 2048


STREAMS: dict[str, Callable[[], bytes]] = {
    "2 GB of zeros": _bomb,
    "no gzip": lambda: b"\x1f\x8b" + bytes(1000),
    "gzip of gzip": lambda: gzip.compress(gzip.compress(bytes(10**6))),
    "a name of 500 MB in a PAX header": lambda: gzip.compress(_pax(500_000_000), 1),
    "a sparse member": lambda: gzip.compress(_sparse(), 1),
}


def _pax(size: int) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, size
    return info.tobuf(tarfile.USTAR_FORMAT) + bytes(size) + bytes(1024)


def _sparse() -> bytes:
    info = tarfile.TarInfo("data/a.jpg")
    info.size = 10**12
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(10_240)


def _stream(make: Callable[[], bytes], scene: Scene) -> None:
    source = scene.folder / "in"
    source.mkdir()
    (source / "data.tar.gz.0").write_bytes(make())
    _take(scene, source)
