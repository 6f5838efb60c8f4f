"""What a user is told in a situation that several commands meet: one sentence, one function, paths quoted for a shell.

A message ends with what the user can do next. A command in it is typed as it stands, and a test types it.
"""

from __future__ import annotations

import shlex
from pathlib import Path


def see_verify(location: Path | str) -> str:
    """The command that says what is damaged in a data set."""
    return f"`mmrs verify {shlex.quote(str(location))}` says what is wrong."


def not_writable(place: object, error: object) -> str:
    """A folder that `--out` named and that cannot be written to."""
    return f"cannot write to {place}: {error}. Choose another folder with --out."


def not_empty(out: Path) -> str:
    """A folder that is to be made and is there already, with something in it."""
    return f"{out} is not empty. Choose another folder, or: {removal(out)}"


def removal(folder: Path) -> str:
    """The command that deletes a folder."""
    return f"rm -r {shlex.quote(str(folder))}"
