"""A disk that is full, and packages that are not installed, before every command that writes or needs them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

from benchmarks.attack_kinds.outputs import WRITERS
from benchmarks.attack_kinds.scene import Attempt, Scene

KILOBYTES = (8, 40, 200)
EXTRAS = ("matplotlib", "transformers", "torch", "safetensors", "tokenizers", "s3fs", "aiohttp", "tensorboard")
NOT_OF_DEMO = ("matplotlib", "s3fs", "aiohttp")


def attempts() -> Iterator[Attempt]:
    """Every command that writes, on disks of some sizes, and without each package of an extra."""
    for command in WRITERS:
        for kilobytes in KILOBYTES:
            yield Attempt("9 full disk", f"{command}: {kilobytes} kB", partial(_full, command, kilobytes))
        for package in EXTRAS:
            if command == "demo" and package in NOT_OF_DEMO:
                # It runs to its end, for minutes.
                continue
            yield Attempt("9 missing extras", f"{command}: no {package}", partial(_missing, command, package))
    for package, url in (("s3fs", "s3://bucket/x"), ("aiohttp", "http://127.0.0.1:9/x")):
        for command in ("stats", "verify"):
            yield Attempt(
                "9 missing extras", f"{command} {url}: no {package}", partial(_no_client, command, package, url)
            )


def _type(command: str, scene: Scene, out: object) -> None:
    scene.mmrs(*WRITERS[command].words.format(base=scene.base, out=out).split())


def _full(command: str, kilobytes: int, scene: Scene) -> None:
    disk = scene.folder / "disk"
    disk.mkdir()
    if shutil.which("mount") is None:
        scene.wrong.append("no program to mount a small file system")
        return
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        scene.wrong.append(f"a small file system cannot be mounted here: {done.stderr.strip()}")
        return
    try:
        _type(command, scene, disk / "out")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def _missing(command: str, package: str, scene: Scene) -> None:
    _forget(package)
    _type(command, scene, scene.folder / "out")


def _no_client(command: str, package: str, url: str, scene: Scene) -> None:
    _forget(package)
    scene.mmrs(command, url, may_pass=False)


def _forget(package: str) -> None:
    """From now on an import of the package fails; modules that have it already are read again."""
    ours = ("mmrs", "converters", "training", "cli")
    for name in list(sys.modules):
        if name.partition(".")[0] in (package, *ours):
            del sys.modules[name]
    sys.modules[package] = None  # type: ignore[assignment]
