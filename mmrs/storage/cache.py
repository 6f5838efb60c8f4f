"""A folder of downloaded files, named by their sha256, with a limit on its size. Safe for several processes.

``FOLDER/<sha256>`` is a whole file, whose digest each process checks once; ``<sha256>.part`` one on its way, at its
full size from the start, so that the sum of all sizes is what the folder takes. The file that was opened longest ago
goes first. A file that a process still has open when it goes keeps its space until the process closes it. Links, and
files with other names, are not ours: they neither count nor go.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from mmrs.errors import RunFailure, UserError
from mmrs.storage.locks import is_held, whole_file_lock
from mmrs.storage.plain_files import open_no_link

PART = ".part"
LOCKS = 256
_OUR_FILE = re.compile(r"[0-9a-f]{64}(\.part)?")
REOPENINGS = 20
DEFAULT_CACHE_GB = 100.0
_RAISE = "Raise data.cache_gb of the training recipe, or MMRS_CACHE_GB for other commands."


def default_cache_folder() -> Path:
    """``mmrs`` in the user's cache folder; who has no home has it in the current folder."""
    home = os.path.expanduser("~")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("." if home == "~" else home) / ".cache") / "mmrs"


def default_cache() -> FileCache:
    """The cache of commands without a recipe: that of training, with its limit, or with ``MMRS_CACHE_GB``.

    Raises:
        UserError: ``MMRS_CACHE_GB`` is no number of gigabytes.
    """
    text = os.environ.get("MMRS_CACHE_GB") or str(DEFAULT_CACHE_GB)
    try:
        gigabytes = float(text)
    except ValueError:
        gigabytes = 0.0
    if not 0 < gigabytes < float("inf"):
        raise UserError(f"MMRS_CACHE_GB={text} is no number of gigabytes; set it to one, such as 100.")
    return FileCache(default_cache_folder() / "shards", int(gigabytes * 1e9))


# Files that this process found to have their digest, by path and inode: what lies on a disk is looked at once a run.
_SOUND: set[tuple[Path, int]] = set()


class DigestMismatch(ValueError):
    """A download is not the file that it should be."""


@dataclass(frozen=True, slots=True)
class FileCache:
    """At most `max_bytes` of files in `folder`."""

    folder: Path
    max_bytes: int

    def open(self, sha256: str, size: int, download: Callable[[int], None]) -> int:
        """Descriptor, for reading, of the file with this digest and size in bytes.

        Args:
            download: writes the whole file into a descriptor; called where the file is not here yet, by one process
                at a time. What it raises is passed on.

        Raises:
            DigestMismatch: what was downloaded has another digest.
            UserError: the file alone exceeds the limit.
            RunFailure: the disk is full, or other processes evict the file faster than it can be opened.
        """
        path = self.folder / sha256
        for _ in range(REOPENINGS):
            try:
                descriptor = open_no_link(path, os.O_RDONLY)
            except FileNotFoundError:
                self._fill(path, size, download)
                continue
            except OSError as error:
                # A link, or no plain file, in the place of ours.
                if error.errno not in (errno.ELOOP, errno.EINVAL):
                    raise
                path.unlink(missing_ok=True)
                continue
            if os.fstat(descriptor).st_size == size and _is_sound(path, descriptor):
                # The kernel's own "now" moves in steps of milliseconds.
                os.utime(descriptor, ns=(now := time.time_ns(), now))
                return descriptor
            os.close(descriptor)
            path.unlink(missing_ok=True)
        raise RunFailure(
            f"the cache {self.folder} of {self.max_bytes / 1e9:.1f} GB drops files before they are read: too small for "
            f"all processes that share it. {_RAISE}"
        )

    def holds(self, sha256: str) -> bool:
        """Whether the file is here; it may be gone a moment later."""
        return (self.folder / sha256).exists()

    def _fill(self, path: Path, size: int, download: Callable[[int], None]) -> None:
        part = path.with_name(path.name + PART)
        with self._lock(_lock_number(path.name)):
            if path.exists():
                return
            try:
                descriptor = self._reserve(part, size)
                try:
                    download(descriptor)
                    found = _sha256(descriptor)
                    os.fsync(descriptor)
                    # Once it has its name another process may evict it: nothing is asked of the name then.
                    inode = os.fstat(descriptor).st_ino
                finally:
                    os.close(descriptor)
                if found != path.name:
                    raise DigestMismatch(f"sha256 is {found[:12]}, the manifest says {path.name[:12]}")
                os.replace(part, path)
                _SOUND.add((path, inode))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                raise RunFailure(
                    f"the disk of the cache {self.folder} is full. Lower data.cache_gb, or set data.cache to a folder "
                    "on a larger disk; for commands without a training recipe MMRS_CACHE_GB and XDG_CACHE_HOME."
                ) from error
            finally:
                part.unlink(missing_ok=True)

    def _reserve(self, part: Path, size: int) -> int:
        """Create `part` at its full size once the limit allows it; its descriptor, to read and write."""
        if size > self.max_bytes:
            raise UserError(
                f"a shard of {size / 1e9:.2f} GB does not fit the cache of {self.max_bytes / 1e9:.2f} GB in "
                f"{self.folder}. {_RAISE}"
            )
        while True:
            with self._lock(LOCKS):
                if self._evict(self.max_bytes - size, part):
                    part.unlink(missing_ok=True)
                    descriptor = open_no_link(part, os.O_RDWR | os.O_CREAT | os.O_EXCL)
                    try:
                        os.ftruncate(descriptor, size)
                    except OSError:
                        os.close(descriptor)
                        raise
                    return descriptor
            # All that is left belongs to downloads of others, which end and can then be evicted.
            time.sleep(0.05)

    def _evict(self, limit: int, wanted: Path) -> bool:
        """Remove the files opened longest ago until at most `limit` bytes remain; false where that is not possible."""
        files = []
        for entry in os.scandir(self.folder):
            is_ours = _OUR_FILE.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
            if is_ours and entry.path != str(wanted):
                # A download that has ended since the folder was listed goes on counting, by its new name.
                for name in dict.fromkeys((entry.path, entry.path.removesuffix(PART))):
                    try:
                        found = os.stat(name)
                    except FileNotFoundError:
                        continue
                    files.append((found.st_mtime_ns, name, found.st_size))
                    break
        used = sum(size for _, _, size in files)
        for _, name, size in sorted(files):
            if used <= limit:
                break
            if name.endswith(PART) and self._in_progress(name):
                continue
            Path(name).unlink(missing_ok=True)
            used -= size
        return used <= limit

    def _in_progress(self, part: str) -> bool:
        """False for what a killed process left."""
        return is_held(self._lock_path(_lock_number(Path(part).name.removesuffix(PART))))

    def _lock(self, number: int) -> AbstractContextManager[int]:
        # whole-file lock: threads of one process download, too, and must exclude each other
        path = self._lock_path(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        return whole_file_lock(path, wait=True)

    def _lock_path(self, number: int) -> Path:
        return self.folder / "locks" / f"{number:03d}"


def _is_sound(path: Path, descriptor: int) -> bool:
    """Whether the file has the digest that it is named by."""
    key = (path, os.fstat(descriptor).st_ino)
    if key not in _SOUND and _sha256(descriptor) == path.name:
        _SOUND.add(key)
    return key in _SOUND


def _lock_number(sha256: str) -> int:
    return int(sha256[:2], 16) % LOCKS


def _sha256(descriptor: int) -> str:
    with open(os.dup(descriptor), "rb") as file:
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()
