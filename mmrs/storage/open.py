"""The one door to a folder of a data set, by path or URL: `open_place` to write and read, `open_readable` to read."""

from __future__ import annotations

from pathlib import Path

from mmrs.storage.download import RemoteReader
from mmrs.storage.local import LocalPlace
from mmrs.storage.place import Place, ReadablePlace
from mmrs.storage.remote import open_remote
from mmrs.storage.retry import DEFAULT_PATIENCE, Patience
from mmrs.storage.urls import parse_location


def open_place(location: Path | str) -> Place:
    """The place that a path or a URL names, to be written to and read.

    Raises:
        UserError: a URL that `parse_location` refuses, or whose protocol is not installed or cannot be written to.
    """
    where = parse_location(location)
    return LocalPlace(where) if isinstance(where, Path) else open_remote(where)


def open_readable(location: Path | str, patience: Patience = DEFAULT_PATIENCE) -> ReadablePlace:
    """The place that a path or a URL names, to be read: of a URL patiently, http(s) and hf too.

    Raises:
        UserError: a URL that `parse_location` refuses.
    """
    where = parse_location(location)
    return LocalPlace(where) if isinstance(where, Path) else RemoteReader(where, patience)


def read_file(location: Path | str) -> bytes:
    """The content of one file, by path or URL.

    Raises:
        UserError: a URL that `parse_location` refuses; otherwise as `mmrs.storage.place.ReadablePlace.read`.
    """
    where = parse_location(location)
    if isinstance(where, Path):
        return where.read_bytes()
    folder, _, name = where.rpartition("/")
    return open_readable(folder).read(name)
