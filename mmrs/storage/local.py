"""A folder of this machine, or of a file system that machines share."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mmrs.errors import UserError
from mmrs.storage.atomic import atomic_writer, publish_file, remove_temporaries, temporary_name, write_atomic
from mmrs.storage.locks import whole_file_lock
from mmrs.storage.place import LOCK_NAME, MOST_BYTES, STATE_FOLDER, not_ours, too_large
from mmrs.storage.plain_files import open_to_read, read_plain_file
from mmrs.text import not_writable

_TOKEN_BYTES = 16
# What a lock of ours holds; nothing at first.
_TOKEN = re.compile(rb"([0-9a-f]{32})?")


@dataclass(frozen=True, slots=True)
class LocalPlace:
    """A folder of this machine, or of a file system that all machines of a build share."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def read(self, name: str, most_bytes: int = MOST_BYTES) -> bytes:
        with open(open_to_read(self.root / name), "rb") as file:
            if os.fstat(file.fileno()).st_size > most_bytes:
                raise too_large(self.root / name, most_bytes)
            return file.read(most_bytes)

    def read_many(self, names: Sequence[str]) -> dict[str, bytes]:
        return {name: read_plain_file(self.root / name) for name in names if (self.root / name).is_file()}

    def write(self, name: str, data: bytes) -> None:
        write_atomic(self.root / name, data)

    def write_parts(self, name: str, parts: Iterable[bytes]) -> None:
        with atomic_writer(self.root / name) as file:
            file.writelines(parts)

    def sizes(self) -> dict[str, int]:
        found = (path for path in self.root.rglob("*") if path.is_file())
        return {path.relative_to(self.root).as_posix(): path.stat().st_size for path in found}

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            (self.root / name).unlink(missing_ok=True)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        # Inside the place: a rename is atomic within one file system only.
        folder = self.root / STATE_FOLDER / temporary_name("shard")
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, folder: Path, names: Sequence[str]) -> None:
        for name in names:
            publish_file(folder / name, self.root / name)

    def remove_leftovers(self) -> tuple[str, ...]:
        return tuple(path.relative_to(self.root).as_posix() for path in remove_temporaries(self.root))

    @contextmanager
    def lock(self, say: Callable[[str], None]) -> Iterator[str]:
        path = self.root / LOCK_NAME
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(not_writable(self.root, error)) from error
        if path.parent.is_symlink():
            raise UserError(f"{path.parent} is a symbolic link; what is written below --out must lie there: remove it.")
        token = secrets.token_hex(_TOKEN_BYTES)
        with ExitStack() as held:
            try:
                # whole-file lock: `check` opens and closes the file, which would let go of a record lock
                descriptor = held.enter_context(whole_file_lock(path))
                if not _TOKEN.fullmatch(os.pread(descriptor, 2 * _TOKEN_BYTES + 1, 0)):
                    raise UserError(f"{path} is no lock of a build; remove it, or take another --out.")
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, token.encode(), 0)
            except BlockingIOError as error:
                raise UserError(
                    f"another `mmrs` is writing to {self.root}; wait for it or take another --out."
                ) from error
            except OSError as error:
                raise UserError(not_writable(f"{self.root} (its lock)", error)) from error
            yield token

    def check(self, token: str) -> None:
        try:
            held = (self.root / LOCK_NAME).read_text(errors="replace") == token
        except OSError:
            held = False
        if not held:
            raise not_ours(self)
