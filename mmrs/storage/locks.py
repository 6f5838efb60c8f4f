"""Local locks on files: one process, or one thread, at a time. A killed process holds none.

Two kinds, which differ where a process forks, so each user takes its own on purpose (`filelock` hides which it takes):

* `whole_file_lock` (flock) belongs to the open file: children that inherit the file keep it, and two threads that open
  the file exclude each other;
* `record_lock` (lockf) belongs to the process: children do not inherit it, and threads do not exclude each other.

On file systems that machines share, both hold between machines as far as the file system carries them (NFS from
version 4 on, Lustre with ``-o flock``). Where there is no file system at all, see `mmrs.storage.lease`.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmrs.storage.plain_files import open_no_link


@contextmanager
def whole_file_lock(path: Path, wait: bool = False) -> Iterator[int]:
    """Hold `path`, made where it is not there; the context's value is a descriptor of it, to read and write.

    What it holds is left as it is: it may be another holder's.

    Args:
        wait: until it is free, however long that takes.

    Raises:
        BlockingIOError: somebody else holds it, and `wait` is false.
        OSError: the file cannot be made, is a link or no plain file, or its file system has no locks.
    """
    descriptor = open_no_link(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def record_lock(path: Path) -> Iterator[None]:
    """Hold `path` for this process alone, made where it is not there.

    Raises:
        BlockingIOError: another process holds it.
        OSError: it cannot be made, is a link or no plain file, or its file system has no locks.
    """
    descriptor = open_no_link(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except PermissionError as error:
            # Some systems say it in this way.
            raise BlockingIOError(error.errno, error.strerror, str(path)) from error
        yield
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether somebody holds the `whole_file_lock` of `path`."""
    try:
        with whole_file_lock(path):
            return False
    except BlockingIOError:
        return True
