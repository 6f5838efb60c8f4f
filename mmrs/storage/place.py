"""Where a data set lies: the contract of a folder, for those who read it and for those who write it.

`mmrs.storage.open` picks the implementation: a folder (`mmrs.storage.local`), a URL to be written to
(`mmrs.storage.remote`) or only read (`mmrs.storage.download`). All keep one promise: a name holds its old content or
its new content, never a part of either.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from mmrs.errors import RunFailure
from mmrs.text import bytes_text

# The state of builds, inside the place; not part of the data set.
STATE_FOLDER = ".build"
LOCK_NAME = f"{STATE_FOLDER}/lock"
READINGS = 4
# Of a file of which nothing is known; a tar or an index is read up to what its manifest says.
MOST_BYTES = 2 * 2**30


class ReadablePlace(Protocol):
    """A folder of a data set. Names are relative to it, with ``/``. Instances are picklable; ``str`` is path or URL."""

    def read(self, name: str, most_bytes: int = MOST_BYTES) -> bytes:
        """The content of a file.

        Raises:
            OSError: the folder fails; FileNotFoundError: the name is not there.
            UserError: at a URL that is only read: the name is not there, or may not be read; says what to do.
            RunFailure: it has more than `most_bytes`, or is no file; at a URL that is only read: every try failed.
        """
        ...


class Place(ReadablePlace, Protocol):
    """A folder of a data set that can be written to.

    Every method raises OSError where the storage fails, FileNotFoundError where a name is not there.
    """

    def read_many(self, names: Sequence[str]) -> dict[str, bytes]:
        """The contents of those of `names` that exist."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Replace a file's content."""
        ...

    def write_parts(self, name: str, parts: Iterable[bytes]) -> None:
        """Replace a file's content by the parts, one after the other; they need not fit memory."""
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

    def remove_leftovers(self) -> tuple[str, ...]:
        """Remove what killed writers left, and return what looks alike and is not ours.

        The caller holds the lock and has no worker.
        """
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


def read_settled(
    place: ReadablePlace, name: str, is_right: Callable[[bytes], bool], most_bytes: int = MOST_BYTES
) -> bytes:
    """The content of a file; where it is not right, what two readings in a row agree on, of at most `READINGS`.

    An answer that a network damaged is thus not taken for a damaged file. Raises as `ReadablePlace.read`.
    """
    content = place.read(name, most_bytes)
    for _ in range(READINGS - 1):
        if is_right(content):
            break
        again = place.read(name, most_bytes)
        if again == content:
            break
        content = again
    return content


def read_digested(place: ReadablePlace, name: str, sha256: str, most_bytes: int = MOST_BYTES) -> bytes:
    """`read_settled` for a file whose digest is known. What is returned may still have another one."""
    return read_settled(place, name, lambda content: hashlib.sha256(content).hexdigest() == sha256, most_bytes)


def too_large(where: object, most_bytes: int) -> RunFailure:
    """The failure of a reading that goes on after what can be sound."""
    return RunFailure(f"{where} has more than {bytes_text(most_bytes)}: no file of a data set that is so named has.")


def not_ours(place: Place) -> RunFailure:
    """The failure of `Place.check`."""
    return RunFailure(
        f"{os.uname().nodename}: {place} is not held by this build here. Either another build took it over, or this "
        "machine does not see the folder that the build was started on: all machines need one shared folder under one "
        "path, or a URL such as s3://BUCKET/FOLDER. Run the same command again; what is finished is kept."
    )
