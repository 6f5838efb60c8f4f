"""Where a data set is written: a folder, or any storage that fsspec knows by URL.

Both keep one promise: a name holds its old content or its new content, never a part of either.
"""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mmrs.errors import RunFailure, UserError
from mmrs.storage.atomic import TEMPORARY_MARK, publish_file, remove_temporaries, write_atomic
from mmrs.storage.locks import whole_file_lock

# The state of builds, inside the place; not part of the data set.
STATE_FOLDER = ".build"
LOCK_NAME = f"{STATE_FOLDER}/lock"
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.DOTALL)


class Place(Protocol):
    """A folder of a data set. Names are relative to it, with ``/``. Instances are picklable; ``str`` is path or URL.

    Every method raises OSError where the storage fails, FileNotFoundError where a name is not there.
    """

    def read(self, name: str) -> bytes: ...

    def read_many(self, names: Sequence[str]) -> dict[str, bytes]:
        """The contents of those of `names` that exist."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Replace a file's content."""
        ...

    def sizes(self) -> dict[str, int]:
        """Name and bytes of every file, state of builds included."""
        ...

    def remove(self, names: Iterable[str]) -> None:
        """Remove those of `names` that exist, in this order."""
        ...

    def staging(self) -> AbstractContextManager[Path]:
        """An empty local folder to write files into before `publish`; it vanishes when the context ends."""
        ...

    def publish(self, folder: Path, names: Sequence[str]) -> None:
        """Bring files from a `staging` folder to the same names here, one after the other in this order."""
        ...

    def remove_leftovers(self) -> None:
        """Remove what killed writers left. The caller holds the lock and has no worker."""
        ...

    def lock(self, say: Callable[[str], None]) -> AbstractContextManager[str]:
        """Hold the place for one build; the context's value is the build's token.

        Raises:
            UserError: another build holds it, or nothing can be written there.
        """
        ...

    def check(self, token: str) -> None:
        """Make sure that this process sees the place, and that the build with `token` holds it still.

        Raises:
            RunFailure: it does not; says which machine and what to do.
        """
        ...


def open_place(where: Path | str) -> Place:
    """The place that a path or a URL names.

    Raises:
        UserError: a protocol that is unknown, not installed, or cannot hold a data set; a URL with a password.
    """
    match = None if isinstance(where, Path) else _URL.fullmatch(where)
    if match is None:
        return LocalPlace(Path(where))
    if match[1] in ("file", "local"):
        return LocalPlace(Path(match[2]))
    from mmrs.storage.remote import open_remote

    return open_remote(str(where).rstrip("/"))


def not_ours(place: Place) -> RunFailure:
    """The failure of `Place.check`."""
    return RunFailure(
        f"{os.uname().nodename}: {place} is not held by this build here. Either another build took it over, or this "
        "machine does not see the folder that the build was started on: all machines need one shared folder under one "
        "path, or a URL such as s3://BUCKET/FOLDER. Run the same command again; what is finished is kept."
    )


@dataclass(frozen=True, slots=True)
class LocalPlace:
    """A folder of this machine, or of a file system that all machines of a build share."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def read_many(self, names: Sequence[str]) -> dict[str, bytes]:
        return {name: (self.root / name).read_bytes() for name in names if (self.root / name).is_file()}

    def write(self, name: str, data: bytes) -> None:
        write_atomic(self.root / name, data)

    def sizes(self) -> dict[str, int]:
        found = (path for path in self.root.rglob("*") if path.is_file())
        return {path.relative_to(self.root).as_posix(): path.stat().st_size for path in found}

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            (self.root / name).unlink(missing_ok=True)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        # Inside the place: a rename is atomic within one file system only.
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_MARK, dir=self.root / STATE_FOLDER) as folder:
            yield Path(folder)

    def publish(self, folder: Path, names: Sequence[str]) -> None:
        for name in names:
            publish_file(folder / name, self.root / name)

    def remove_leftovers(self) -> None:
        remove_temporaries(self.root)

    @contextmanager
    def lock(self, say: Callable[[str], None]) -> Iterator[str]:
        path = self.root / LOCK_NAME
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write to {self.root}: {error}. Choose another folder with --out.") from error
        token = secrets.token_hex(16)
        with ExitStack() as held:
            try:
                # whole-file lock: `check` opens and closes the file, which would let go of a record lock
                descriptor = held.enter_context(whole_file_lock(path))
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, token.encode(), 0)
            except BlockingIOError as error:
                raise UserError(
                    f"another `mmrs build` is writing to {self.root}; wait for it or take another --out."
                ) from error
            except OSError as error:
                raise UserError(f"cannot lock {self.root}: {error}. Choose another folder with --out.") from error
            yield token

    def check(self, token: str) -> None:
        try:
            held = (self.root / LOCK_NAME).read_text(errors="replace") == token
        except OSError:
            held = False
        if not held:
            raise not_ours(self)
