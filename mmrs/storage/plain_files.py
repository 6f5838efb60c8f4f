"""Opening files among strangers: no link is followed where we write, none out of a source where we read.

Whoever may write into a folder that we use, or has packed the archive that we read, can leave a symbolic link, a pipe
or a device under any name. A link where a lock, a log or a temporary file goes would have another file overwritten; a
link where a list or a table is read would carry a file of this machine into manifest, quarantine and shards; a pipe
would be waited for without end.

What counts as outside is known to those who call a source (`reading_below`) and not to its parsers, so that it is kept
for the duration of the call and holds for every file that is opened meanwhile.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from mmrs.errors import RunFailure

NO_PLAIN_FILE = "no plain file but a pipe, a socket or a device"
FOLLOW_OPTION = "--follow-links"
_LONGEST_NAME = 200
T = TypeVar("T")
# tarfile stands these characters for bytes that are no UTF-8.
_NO_UTF8 = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Where files may be read: below `root` (its links resolved), or wherever links lead."""

    root: str
    follow_links: bool


_BOUNDS: ContextVar[_Bounds | None] = ContextVar("bounds of reading", default=None)


@contextmanager
def reading_below(root: Path, follow_links: bool = False) -> Iterator[None]:
    """While it is held, `open_to_read` refuses files outside of `root`; with `follow_links` those alone without a file.

    `root` itself may be reached by a link: the user has named it.
    """
    token = _BOUNDS.set(_Bounds(os.path.realpath(root), follow_links))
    try:
        yield
    finally:
        _BOUNDS.reset(token)


def reading_also_beside(folder: Path) -> None:
    """Until `reading_below` ends, its bound is `folder`: the layout was found one folder above the root."""
    bounds = _BOUNDS.get()
    if bounds is not None:
        _BOUNDS.set(_Bounds(os.path.realpath(folder), bounds.follow_links))


_KEPT: ContextVar[dict[Hashable, Any] | None] = ContextVar("what is kept of folders", default=None)


@contextmanager
def folders_stay() -> Iterator[None]:
    """While it is held, `kept_of_folders` finds once what several splits of a source ask for."""
    token = _KEPT.set({} if _KEPT.get() is None else _KEPT.get())
    try:
        yield
    finally:
        _KEPT.reset(token)


def kept_of_folders(key: Hashable, find: Callable[[], T]) -> T:
    """``find()``, or while `folders_stay` is held what it gave for an equal `key`; nobody may change it."""
    kept = _KEPT.get()
    if kept is None:
        return find()
    if key not in kept:
        kept[key] = find()
    return kept[key]


def follows_links() -> bool:
    """Whether the user allowed links to lead out of the source that is being read."""
    bounds = _BOUNDS.get()
    return bounds is not None and bounds.follow_links


def open_to_read(path: Path) -> int:
    """Descriptor of a plain file, without waiting for anybody.

    Raises:
        OSError: there is no such file, it is a pipe, a socket or a device, or a link leads to it out of the folder that
            is being read (`reading_below`).
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    bounds = _BOUNDS.get()
    if bounds is None or bounds.follow_links:
        return _checked(os.open(path, flags), path)
    folder, name = os.path.split(path)
    if name in ("", ".", "..") or not _is_below(_real_folder(os.path.abspath(folder)), bounds.root):
        _check_inside(path, bounds.root)
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        _check_inside(path, bounds.root)
        descriptor = os.open(path, flags)
    return _checked(descriptor, path)


def read_plain_file(path: Path) -> bytes:
    """Content of a plain file. Raises OSError as `open_to_read`."""
    with open(open_to_read(path), "rb") as file:
        return file.read()


def open_no_link(path: Path, flags: int, mode: int = 0o666) -> int:
    """Descriptor of a plain file that is no link, by the `flags` of `os.open`.

    Raises:
        OSError: it cannot be opened or made, or it is a link, a pipe, a socket or a device.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        reason = "is a symbolic link; links are not followed where files are written"
        raise OSError(errno.ELOOP, reason, str(path)) from error
    return _checked(descriptor, path)


def _checked(descriptor: int, path: Path) -> int:
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, NO_PLAIN_FILE, str(path))


def _check_inside(path: Path, root: str) -> None:
    """Raise OSError where links lead to another folder tree than a path without them would."""
    folder, name = os.path.split(os.path.abspath(path))
    target = os.path.join(_real_folder(folder), name)
    if os.path.islink(target):
        target = os.path.realpath(target)
    if not _is_below(target, root):
        reason = f"leads to {target}, outside of {root}; {FOLLOW_OPTION} reads what lies elsewhere on purpose"
        raise OSError(errno.ELOOP, reason, str(path))


def _is_below(target: str, root: str) -> bool:
    return target == root or target.startswith(root.rstrip(os.sep) + os.sep)


@lru_cache(maxsize=4096)
def _real_folder(folder: str) -> str:
    # Every annotation of a folder asks for it; links of folders do not change while a source is read.
    return os.path.realpath(folder)


def plain_member_path(name: str) -> str:
    """A relative path with forward slashes that stays below its root; bytes that are no UTF-8 become ``%xx``.

    Raises:
        RunFailure: absolute, with a drive, a backslash, a NUL or a ``..``, an overlong name, or empty.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    leads_out = name.startswith("/") or ".." in parts or re.match("[A-Za-z]:", name)
    if leads_out or not parts or any(mark in name for mark in ("\\", "\0")) or max(map(len, parts)) > _LONGEST_NAME:
        raise RunFailure(f"member path {name[:120]!r} is not a plain relative path; the archive is refused.")
    return _NO_UTF8.sub(lambda match: f"%{ord(match[0]) - 0xDC00:02x}", "/".join(parts))
