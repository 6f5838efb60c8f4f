"""One attempt: what a stranger prepares, the commands that a user types, and what would be the stranger's success."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from click.testing import CliRunner

SECRET = "hunter2SECRET"
LONGEST_OUTPUT = 20_000
# ESC, BEL and marks of direction: a terminal obeys them.
OBEYED = ("\x1b", "\x07", "\u202e", "\u2066", "\x9b")
_CODES = (0, 1, 2)


@dataclass(frozen=True)
class Attempt:
    """`act` prepares a scene and types the commands; what it finds wrong it claims of the scene."""

    kind: str
    name: str
    act: Callable[[Scene], None]


@dataclass
class Scene:
    """An empty folder, what was made for all attempts (`base`), and what went wrong so far.

    ``outside/`` beside the folder is somebody else's: it has a secret, and nothing in it may change.
    """

    folder: Path
    base: Path
    wrong: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @cached_property
    def outside(self) -> Path:
        """The folder of somebody else, with a secret in ``secret.txt``."""
        folder = self.folder.parent / f"{self.folder.name}-outside"
        folder.mkdir()
        (folder / "secret.txt").write_text(f"root:{SECRET}:0:0\n")
        return folder

    def copy(self, name: str) -> Path:
        """A copy of something sound."""
        target = self.folder / name.replace("/", "-")
        shutil.copytree(self.base / name, target, symlinks=True)
        return target

    def claim(self, holds: object, otherwise: str) -> None:
        """Note what is wrong where something does not hold."""
        if not holds:
            self.wrong.append(otherwise)

    def mmrs(self, *words: object, typed: str = "", may_fail: bool = True, may_pass: bool = True) -> str:
        """Type a command; what it says. An exit code, a text or an exception that no user should see is wrong."""
        from cli import main

        done = CliRunner().invoke(main, ["--quiet", *map(str, words)], input=typed)
        command = " ".join(map(str, words))[:100]
        self.said.append(f"$ mmrs {command}\n{done.output[-600:]}\n-> {done.exit_code}")
        self.claim(done.exit_code in _CODES, f"{command}: exit code {done.exit_code}")
        self.claim(isinstance(done.exception, SystemExit | None), f"{command}: {done.exception!r:.300}")
        self.claim(may_fail or done.exit_code == 0, f"{command}: refused what is sound")
        self.claim(may_pass or done.exit_code != 0, f"{command}: took what is not sound")
        self.check_text(done.output, command)
        return done.output

    def check_text(self, text: str, what: str) -> None:
        """Hold what was printed against what may be printed."""
        for word in ("fault of the program", "Traceback (most", SECRET, "Do you wish to run"):
            self.claim(word not in text, f"{what}: prints {word!r}")
        self.claim(not any(sign in text for sign in OBEYED), f"{what}: prints signs that a terminal obeys")
        self.claim(len(text) < LONGEST_OUTPUT, f"{what}: prints {len(text)} characters")

    def check_files(self, *suffixes: str, without: tuple[str, ...] = (SECRET,)) -> None:
        """No file that was written below the folder holds one of the texts."""
        for path in self.folder.rglob("*"):
            if path.is_file() and not path.is_symlink() and (not suffixes or path.suffix in suffixes):
                content = path.read_bytes()
                for text in without:
                    self.claim(text.encode() not in content, f"{path.name} holds {text!r}")


def fingerprint(folder: Path) -> dict[str, str]:
    """What lies below a folder: links by their target, files by their digest."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"link to {os.readlink(path)}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
