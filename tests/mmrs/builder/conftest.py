"""A disk that fills up."""

import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def small_disk(tmp_path):
    """A function that makes a file system of so many kilobytes and one that gives it more."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(kilobytes: int, *options: str) -> Path:
        words = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={kilobytes}k", *options]), "tmpfs", str(folder)]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no right to mount a small file system: {done.stderr.strip()}")
        return folder

    yield mount
    while subprocess.run(["umount", str(folder)], capture_output=True).returncode == 0:
        continue
