"""What we read of a source, besides images: for every source, one of its files of every kind is replaced or spoiled."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.attack_kinds.scene import Attempt, Scene

SUFFIXES = (".xml", ".json", ".txt", ".csv", ".yaml", ".parquet", ".mat", ".jsonl", ".tfw", ".geojson")
XML_BOMB = (
    '<!DOCTYPE a [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {new} "{f"&{old};" * 9}">' for old, new in zip("abcdefgh", "bcdefghi", strict=True))
    + "]><annotation><object><name>&i;</name></object></annotation>"
)
OUTSIDE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file://{secret}">]><annotation><filename>&x;</filename></annotation>'
ALIASES = "".join(f"a{i}: &a{i} [{','.join(['x' if not i else f'*a{i - 1}'] * 9)}]\n" for i in range(9))


def _replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def _link(scene: Scene, path: Path) -> None:
    path.unlink()
    path.symlink_to(scene.outside / "secret.txt")


def _endless(scene: Scene, path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _pipe(scene: Scene, path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(scene: Scene, path: Path) -> None:
    path.unlink()
    path.mkdir()


def _circle(scene: Scene, path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _bomb(scene: Scene, path: Path) -> None:
    bombs = {".xml": XML_BOMB, ".yaml": ALIASES}
    _replace(path, bombs.get(path.suffix, "[" * 100_000).encode())


def _nested(scene: Scene, path: Path) -> None:
    _replace(path, (b"<a>" if path.suffix == ".xml" else b'{"a":') * 200_000)


def _outside(scene: Scene, path: Path) -> None:
    text = (
        OUTSIDE.format(secret=scene.outside / "secret.txt") if path.suffix == ".xml" else "../secret.txt\n/etc/passwd"
    )
    _replace(path, text.encode())


def _one_long_line(scene: Scene, path: Path) -> None:
    _replace(path, path.read_bytes()[:200] + b" " * 3_000_000 + b"x")


def _wild_numbers(scene: Scene, path: Path) -> None:
    content = path.read_bytes()
    for digit, wild in ((b"1", b"1e999"), (b"2", b"NaN"), (b"3", b"-99999999999999999999")):
        content = content.replace(digit, wild)
    _replace(path, content)


def _escapes(scene: Scene, path: Path) -> None:
    _replace(path, b"\x1b[2J\x1b]0;owned\x07\xe2\x80\xae" + path.read_bytes())


WAYS: dict[str, tuple[str, Callable[[Scene, Path], None]]] = {
    "a link out": ("3 links", _link),
    "a link to an endless device": ("3 links", _endless),
    "a pipe": ("3 links", _pipe),
    "a link to itself": ("3 links", _circle),
    "a folder": ("3 links", _folder),
    "a bomb": ("4 work", _bomb),
    "nesting": ("4 work", _nested),
    "a line of 3 MB": ("4 work", _one_long_line),
    "what lies outside": ("3 links", _outside),
    "wild numbers": ("5 odd files", _wild_numbers),
    "escapes": ("9 names", _escapes),
}


def attempts() -> Iterator[Attempt]:
    """Every source and every format of one's own data with every way, and the same for a description of such data."""
    import converters
    from converters.own_data.formats.registry import OWN_FORMATS

    for name in converters.names():
        if name != "generic":
            for way, (kind, spoil) in WAYS.items():
                yield Attempt(kind, f"{name}: {way}", partial(_of_source, name, spoil))
    for name in OWN_FORMATS:
        for way, (kind, spoil) in WAYS.items():
            yield Attempt(kind, f"own {name}: {way}", partial(_of_format, name, spoil))
    for way, (kind, spoil) in WAYS.items():
        yield Attempt(kind, f"own description: {way}", partial(_of_description, spoil))


def _of_source(name: str, spoil: Callable[[Scene, Path], None], scene: Scene) -> None:
    root = scene.copy(f"samples/{name}")
    _spoil_one_of_each(root, spoil, scene)
    scene.mmrs("scan", name, root)
    recipe = ("--workers", 1, "--set", "quarantine_ceiling=1.0")
    scene.mmrs("build", name, "--root", f"{name}={root}", "--out", scene.folder / "out", *recipe)
    shutil.rmtree(root)
    scene.check_files()


def _of_format(name: str, spoil: Callable[[Scene, Path], None], scene: Scene) -> None:
    root = scene.copy(f"formats/{name}")
    truth = root.parent / "true.yaml"
    (root / "mmrs.yaml").rename(truth)
    _spoil_one_of_each(root, spoil, scene)
    described = ("--option", f"description={truth}")
    scene.mmrs("scan", "generic", root, *described)
    scene.mmrs("scan", "generic", root, "--guess")
    recipe = ("--workers", 1, "--set", "quarantine_ceiling=1.0")
    scene.mmrs("build", "generic", "--root", f"own={root}", *described, "--out", scene.folder / "out", *recipe)
    shutil.rmtree(root)
    scene.check_files()


def _spoil_one_of_each(root: Path, spoil: Callable[[Scene, Path], None], scene: Scene) -> None:
    """Spoil the first file of every kind that may hold annotations."""
    chosen: dict[str, Path] = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.suffix in SUFFIXES:
            chosen.setdefault(path.suffix, path)
    for path in chosen.values():
        spoil(scene, path)


def _of_description(spoil: Callable[[Scene, Path], None], scene: Scene) -> None:
    root = scene.copy("own")
    spoil(scene, root / "mmrs.yaml")
    # Numbers are no part of a description but of the name of its licence.
    is_unsound = spoil is not _wild_numbers
    scene.mmrs("scan", "generic", root, "--option", f"description={root}/mmrs.yaml", may_pass=not is_unsound)
