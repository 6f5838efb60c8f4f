"""Durable, atomic file writes: readers see the old content or the new, never a part.

A temporary name ends in 16 random digits, so that nobody can lay a link in its way, and in 16 that follow from the rest
of the name: these say that this program made it, and nothing else is ever removed as a leftover.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mmrs.storage.plain_files import open_no_link

TEMPORARY_MARK = ".tmp-"
_DIGITS = 16
_NOT_OURS = "holds what this program did not put there; nothing is replaced"


def temporary_name(name: str) -> str:
    """A name of its own for what will become `name`; `is_temporary` knows it again."""
    random = secrets.token_hex(_DIGITS // 2)
    return f"{name}{TEMPORARY_MARK}{random}{_proof(name, random)}"


def is_temporary(name: str) -> bool:
    """Whether `temporary_name` made a file's name."""
    target, mark, digits = name.rpartition(TEMPORARY_MARK)
    return bool(mark) and digits[_DIGITS:] == _proof(target, digits[:_DIGITS])


def _proof(name: str, random: str) -> str:
    return hashlib.sha256(f"temporary of mmrs {random} {name}".encode(errors="surrogateescape")).hexdigest()[:_DIGITS]


@contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; on success fsync it and rename it into place, on failure remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(temporary_name(path.name))
    try:
        with open(open_no_link(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
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


def check_own(path: Path, *marks: bytes) -> None:
    """Look whether a file that is to be replaced is one of ours: there is none, or it holds one of the `marks`.

    Raises:
        FileExistsError: it is somebody else's, or a link, a pipe, a folder.
    """
    if not os.path.lexists(path):
        return
    try:
        with open(open_no_link(path, os.O_RDONLY), "rb") as file:
            content = file.read()
    except OSError:
        content = b""
    if not any(mark in content for mark in marks):
        raise FileExistsError(errno.EEXIST, _NOT_OURS, str(path))


def replace_own(path: Path, data: bytes, mark: bytes) -> None:
    """`write_atomic` over nothing but a file of ours, which holds `mark` as `data` does. Raises as `check_own`."""
    if mark not in data:
        raise ValueError(f"what is to be written to {path} does not hold {mark!r}")
    check_own(path, mark)
    write_atomic(path, data)


def publish_file(made: Path, path: Path) -> None:
    """Bring a finished file of the same file system to its place, durably and at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sync(made)
    os.replace(made, path)
    _sync(path.parent)


@contextmanager
def atomic_folder(path: Path, is_ours: Callable[[Path], bool] | None = None) -> Iterator[Path]:
    """A temporary folder to fill; it becomes `path` when the block ends without an error and vanishes otherwise.

    Args:
        is_ours: whether a folder that is already at `path`, with something in it, may be replaced; by default never.

    Raises:
        FileExistsError: such a folder is there and may not be; it is looked for before the block and after it.
    """
    _check_replaceable(path, is_ours)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(temporary_name(path.name))
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            _sync(file)
        _sync(temporary)
        _check_replaceable(path, is_ours)
        if path.exists():
            remove_folder(path)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_replaceable(path: Path, is_ours: Callable[[Path], bool] | None) -> None:
    is_taken = path.is_symlink() or (path.exists() and (not path.is_dir() or any(path.iterdir())))
    if is_taken and (path.is_symlink() or is_ours is None or not is_ours(path)):
        raise FileExistsError(errno.EEXIST, _NOT_OURS, str(path))


def remove_folder(path: Path) -> None:
    """Delete a folder such that no crash leaves a part of it under its own name."""
    doomed = path.with_name(temporary_name(path.name))
    os.replace(path, doomed)
    shutil.rmtree(doomed)


def remove_temporaries(folder: Path) -> tuple[Path, ...]:
    """Remove what killed writers left under `folder`. The caller must be its only writer.

    Returns:
        What looks alike and is not ours, so that it stays.
    """
    others: list[Path] = []
    for place, folders, files in os.walk(folder):
        marked = [name for name in (*folders, *files) if TEMPORARY_MARK in name]
        others += [Path(place, name) for name in sorted(marked) if not is_temporary(name)]
        for path in (Path(place, name) for name in marked if is_temporary(name)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        folders[:] = [name for name in folders if name not in marked]
    return tuple(others)


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
