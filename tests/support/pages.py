"""Pages of documentation as programs: their blocks are written and run in order, in one folder, as a reader would.

What a block is, its language says: ``bash`` and ``python`` are run, or written to the file that ``title="..."`` names;
``yaml`` and others with a title are written; ``text`` after a run block is output of it, where a line ``...`` stands
for any number of lines. What cannot be run here has ``<!-- not run: WHY -->`` above it; its `mmrs` lines are parsed.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from cli import main

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ("mmrs", "converters", "training", "cli.py", "pyproject.toml")
_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n)?^```(?P<language>\w+)(?P<info>[^\n`]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_TITLE = re.compile(r'title="([^"]+)"')
# The entry point that an installation would write, for the code of this folder; workers import it again.
_PROGRAM = """#!{python}
import sys

from cli import main

if __name__ == "__main__":
    sys.exit(main())
"""


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: `title` is the file that it is, `reason` why it is not run; both may be empty."""

    language: str
    title: str
    text: str
    reason: str
    line: int

    @property
    def is_run(self) -> bool:
        return not self.title and not self.reason and self.language in ("bash", "python")


def read_blocks(page: Path) -> list[Block]:
    """The blocks of a page that name a language, in order."""
    content = page.read_text(encoding="utf-8")
    return [
        Block(
            language=match["language"],
            title=title[1] if (title := _TITLE.search(match["info"])) else "",
            text=match["text"],
            reason=match["reason"] or "",
            line=content.count("\n", 0, match.start("text")),
        )
        for match in _BLOCK.finditer(content)
    ]


def copy_project(folder: Path) -> None:
    """A copy of the code, for pages that add files to it."""
    for name in PROJECT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)


def run_page(page: Path, folder: Path, code: Path = ROOT, programs: Path | None = None) -> None:
    """Write and run the blocks of a page in `folder`; the first that fails is named by line.

    Python blocks run with the code of `code`, and so does `mmrs`, unless the folder `programs` has one.
    """
    if programs is None:
        programs = folder / ".programs"
        programs.mkdir()
        (programs / "mmrs").write_text(_PROGRAM.format(python=sys.executable))
        (programs / "mmrs").chmod(0o755)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(code), "XDG_CACHE_HOME": str(folder / ".cache")}
    output = ""
    for block in read_blocks(page):
        where = f"{page.name}:{block.line}"
        if block.reason:
            check_commands(block)
        elif block.title:
            _write(folder / block.title, block.text, where)
        elif block.is_run:
            output = _run(block, folder, environment, where)
        elif block.language == "text":
            _check_output(block.text, output, where)


def _write(path: Path, text: str, where: str) -> None:
    assert not path.exists(), f"{where}: {path} is there already"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _run(block: Block, folder: Path, environment: dict[str, str], where: str) -> str:
    command = ["bash", "-e", "-o", "pipefail", "-c"] if block.language == "bash" else [sys.executable, "-c"]
    done = subprocess.run([*command, block.text], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{where}:\n{block.text}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def _check_output(expected: str, output: str, where: str) -> None:
    """Each line of the block is a line of the output, in this order; ``...`` at its end stands for any ending."""
    lines = iter([line.strip() for line in output.splitlines()])
    for line in (line.strip() for line in expected.splitlines()):
        if line in ("", "..."):
            continue
        start = line.removesuffix("...")
        found = any(one == line or (start != line and one.startswith(start)) for one in lines)
        assert found, f"{where}: {line!r} is no line of the output, or out of order:\n{output}"


def check_commands(block: Block) -> None:
    """Whether click takes every `mmrs` line of a block that is not run: commands, options and the values of choices."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] in (["mmrs"], ["torchrun"]):
            _parse(words[words.index("mmrs") + 1 :], line)


def _parse(words: list[str], line: str) -> None:
    context = click.Context(main, info_name="mmrs")
    command: click.Command = main
    while isinstance(command, click.Group):
        name, *words = (word for word in words if word not in ("--quiet", "--debug"))
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name!r}: {line}"
        context, command = click.Context(found, info_name=name, parent=context), found
    try:
        command.make_parser(context).parse_args(list(words))
    except click.UsageError as error:
        raise AssertionError(f"{line}: {error.format_message()}") from error
