"""Durable, atomic file writes: readers see the old content or the new, never a part."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

TEMPORARY_MARK = ".tmp-"


@contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; on success fsync it and rename it into place, on failure remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}{TEMPORARY_MARK}{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


def write_atomic(path: Path, data: bytes) -> None:
    """Replace a file's content durably."""
    with atomic_writer(path) as file:
        file.write(data)


def publish_file(made: Path, path: Path) -> None:
    """Bring a finished file of the same file system to its place, durably and at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sync(made)
    os.replace(made, path)
    _sync(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to fill; it becomes `path` when the block ends without an error and vanishes otherwise.

    A folder that is already at `path` is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}{TEMPORARY_MARK}{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            _sync(file)
        _sync(temporary)
        if path.exists():
            remove_folder(path)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Delete a folder such that no crash leaves a part of it under its own name."""
    doomed = path.with_name(f"{path.name}{TEMPORARY_MARK}{os.getpid()}-old")
    os.replace(path, doomed)
    shutil.rmtree(doomed)


def remove_temporaries(folder: Path) -> None:
    """Remove what killed writers left under `folder`. The caller must be its only writer."""
    for path in list(folder.rglob(f"*{TEMPORARY_MARK}*")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    # A rename is durable only once the renamed content and the folder's list of names are.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
