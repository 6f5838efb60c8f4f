"""The one door to a folder of a data set, by path or URL."""

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
