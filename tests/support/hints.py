"""The commands that texts of the project tell a user to type: collected from the source, and found in a message.

A hint is a command in backticks (or ``rm -r``, ``pip install`` at the end of a sentence), or options to add to the
command that failed (``--set a=b``). In the source what varies is ``{}``.
"""

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HOME = Path(__file__).resolve().parents[2]
PACKAGES = ("cli.py", "converters", "mmrs", "training")
_COMMAND = re.compile(
    r"`((?:mmrs|pip install|hf|rm|ray|ls|torchrun)(?: [^`]*)?|--(?:set|option) [^`]*)`"
    r"|(?<!`)\b((?:pip install|rm -r) (?:'[^']*'|[^\s.;,`]+))"
)
# Whose command is not run: what of it is looked at instead.
NOT_RUN = {
    "pip": "compared with the extras of pyproject.toml",
    "hf": "needs the internet and an account",
    "ray": "needs a cluster",
    "torchrun": "needs GPUs",
    "ls": "of the system",
}


@dataclass(frozen=True, order=True)
class Hint:
    """A command that a module tells users to type."""

    module: str
    command: str

    @property
    def is_mention(self) -> bool:
        """Whether a command is only named, without the words behind it."""
        return re.fullmatch(r"mmrs( (release )?[a-z-]+)?", self.command) is not None

    @property
    def is_run(self) -> bool:
        """Whether a scenario has to type it."""
        return not self.is_mention and self.command.split()[0] not in NOT_RUN


def commands_in(text: str) -> list[str]:
    """The commands of a message, in their order, as they are typed."""
    return [first or second for first, second in _COMMAND.findall(text)]


def collected_hints() -> set[Hint]:
    """Every hint of the project's texts; docstrings are none."""
    return {Hint(module, command) for module, text in collected_texts() for command in commands_in(text)}


@cache
def collected_texts() -> tuple[tuple[str, str], ...]:
    """(module, text) of every text of the project but docstrings; what varies in it is ``{}``."""
    found = []
    for package in PACKAGES:
        folder = HOME / package
        for path in sorted(folder.rglob("*.py") if folder.is_dir() else [folder]):
            module = path.relative_to(HOME).as_posix()
            found += [(module, text) for text in _texts(ast.parse(path.read_text(encoding="utf-8")))]
    return tuple(found)


def _texts(tree: ast.Module) -> Iterator[str]:
    left_out = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    left_out |= {id(value) for node in joined for value in node.values}
    for node in joined:
        yield "".join(str(value.value) if isinstance(value, ast.Constant) else "{}" for value in node.values)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out:
            yield node.value


def pattern(command: str) -> str:
    """A regular expression for the command of a hint where ``{}`` is anything."""
    return ".*?".join(re.escape(part) for part in command.split("{}"))


def words_of(command: str) -> list[str]:
    """The words of a command of a hint or a message."""
    return shlex.split(command.replace("{}", "X"))
