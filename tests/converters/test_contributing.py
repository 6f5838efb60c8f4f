"""The new source of CONTRIBUTING.md, followed to the letter in a copy of the project."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^`(converters/[\w/.]+)`.*?\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SCRIPT = """
import cli
for words in (
    "sources skyport", "sample skyport --out raw", "scan skyport raw", "scan skyport raw --set smallest_side=9999",
    "build skyport --root skyport=raw --out out --workers 1", "verify out --workers 1", "scan skyport broken"
):
    cli.main(words.split(), standalone_mode=False)
"""


@pytest.fixture
def project(tmp_path):
    for name in ("converters", "mmrs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "cli.py", tmp_path)
    blocks = dict(BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text()))
    assert [Path(name).suffix for name in blocks] == [".yaml", ".py", ".py"]
    for name, text in blocks.items():
        assert not (tmp_path / name).exists()
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_example_lists_samples_scans_builds_and_verifies(project):
    (project / "broken").mkdir()
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=project, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "option     smallest_side: Objects with a shorter side, in pixels, count as nothing" in done.stdout
    assert "a whole number from 0 (default 0); `--set smallest_side=VALUE`" in done.stdout
    assert "train  4 of 800  " in done.stdout and "classes: airplane " in done.stdout
    assert "ok: 8 samples in 2 shards" in done.stdout
    assert re.search(r"train  4 of 800 +(\d+) of 4113 +\1 ", done.stdout), "all objects are ignored by the option"
    assert "expected: images/*.jpg, labels/*.txt" in done.stderr


def test_the_example_is_linted_like_the_project(project):
    for name in ("converters/detection/skyport.py", "converters/samples/skyport.py"):
        for words in (["check", "--quiet"], ["format", "--check", "--quiet"]):
            command = [sys.executable, "-m", "ruff", *words, "--config", str(ROOT / "pyproject.toml"), name]
            done = subprocess.run(command, cwd=project, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
