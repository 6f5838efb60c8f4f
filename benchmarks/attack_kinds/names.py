"""Odd names of files, classes and splits, in every place where a name comes from somebody else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.attack_kinds.scene import Attempt, Scene
from benchmarks.attack_kinds.sound import picture

NAMES: dict[str, bytes] = {
    "an end of line": b"a\nb",
    "Latin-1": b"caf\xe9",
    "escapes": b"\x1b[2J\x1b]0;owned\x07red",
    "right to left": "\u202egpj.exe".encode(),
    "an isolate": "\u2066x".encode(),
    "a tab": b"tab\there",
    "a carriage return": b"ok0.jpg\rfake",
    "only a space": b" ",
    "250 letters": b"x" * 250,
    "markup": b"<img src=x onerror=alert(1)>",
    "a formula": b"$\\frac{$",
    "an option": b"--out",
    "a surrogate": "\ud800".encode("utf-8", "surrogatepass"),
    "a device of Windows": b"CON",
    "a comma and quotes": b"a\",b'c",
}


def attempts() -> Iterator[Attempt]:
    """Every name in every place."""
    for place, act in PLACES.items():
        for name in NAMES:
            yield Attempt("5 odd files", f"{place}: {name}", partial(act, NAMES[name]))


def _build(scene: Scene, root: Path, may_fail: bool) -> None:
    out = scene.folder / "out"
    words = ("--option", f"description={root}/mmrs.yaml")
    scene.mmrs("scan", "generic", root, *words)
    scene.mmrs(
        *("build", "generic", "--root", f"own={root}", *words, "--workers", 1),
        *("--set", "quarantine_ceiling=1.0", "--out", out),
        may_fail=may_fail,
    )
    if (out / "manifest.json").exists():
        scene.mmrs("verify", out, "--workers", 1, may_fail=False)
        scene.mmrs("stats", out, may_fail=False)
        scene.mmrs("report", out, "--out", scene.folder / "page.html", may_fail=False)
        scene.check_files(".html", without=("<img src=x onerror", "\x1b", "\u202e"))
        for line in (out / "quarantine.jsonl").read_bytes().splitlines():
            json.loads(line)


def _image(name: bytes, scene: Scene) -> None:
    root = scene.copy("own")
    (root / "images" / os.fsdecode(name + b".jpg")).write_bytes(picture(9))
    _build(scene, root, may_fail=False)


def _label(name: bytes, scene: Scene) -> None:
    root = scene.copy("own")
    (root / "labels" / os.fsdecode(name + b".txt")).write_text("0 0.5 0.5 0.2 0.2\n")
    _build(scene, root, may_fail=False)


def _folder(name: bytes, scene: Scene) -> None:
    root = scene.copy("own")
    folder = root / "images" / os.fsdecode(name)
    folder.mkdir()
    (folder / "in.jpg").write_bytes(picture(9))
    _build(scene, root, may_fail=False)


def _class_folder(name: bytes, scene: Scene) -> None:
    root = scene.copy("own")
    folder = root / "images" / os.fsdecode(name)
    folder.mkdir()
    (root / "images" / "ok0.jpg").rename(folder / "ok0.jpg")
    (root / "mmrs.yaml").write_text("name: own\nformat: folders\nsensor: optical\nlicence: CC0-1.0\nimages: images\n")
    _build(scene, root, may_fail=True)


def _list_entry(name: bytes, scene: Scene) -> None:
    root = scene.copy("own")
    with (root / "mmrs.yaml").open("a") as file:
        file.write("splits: {train: t.txt}\n")
    (root / "t.txt").write_bytes(b"ok0\nok1\nok2\n" + name + b"\n")
    _build(scene, root, may_fail=True)


def _class_name(name: bytes, scene: Scene) -> None:
    root = scene.copy("own")
    label = name.decode("utf-8", "surrogateescape")
    (root / "mmrs.yaml").write_text(
        "name: own\nformat: coco\nsensor: optical\nlicence: CC0-1.0\nimages: images\nannotations: a.json\n"
        f"classes: [{json.dumps(label)}]\n"
    )
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 20, 20]}
    content = {
        "images": [{"id": 1, "file_name": "ok0.jpg"}],
        "annotations": [box],
        "categories": [{"id": 1, "name": label}],
    }
    (root / "a.json").write_text(json.dumps(content))
    _build(scene, root, may_fail=True)


PLACES: dict[str, Callable[[bytes, Scene], None]] = {
    "image": _image,
    "label file": _label,
    "folder of images": _folder,
    "class folder": _class_folder,
    "entry of a list": _list_entry,
    "class": _class_name,
}
