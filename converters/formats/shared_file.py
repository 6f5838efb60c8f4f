"""A file that a whole split depends on: a list, a table of labels, one JSON for all images.

One image's broken annotation costs that image; a broken file of this kind leaves nothing to read and ends the command.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mmrs.errors import BadItem, UserError

T = TypeVar("T")


def read_shared(
    name: str,
    root: Path,
    path: Path,
    read: Callable[[Path], T],
    remedy: str = "download it again",
    options: str = "",
) -> T:
    """``read(path)`` of a file that a whole split of source `name` depends on.

    Args:
        name: of the source, `root` its folder: the command that the error ends with names both.
        path: the file; of several that `read` joins, the one to name where its `BadItem` names none.
        read: raises `BadItem` where the file as a whole cannot be used.
        remedy: what to do with the file where its `BadItem` does not say it; another word for the user's own.
        options: what the command needs behind the folder (``--option a=b``).

    Raises:
        UserError: instead of the `BadItem` of `read`.
    """
    try:
        try:
            return read(path)
        except RecursionError as error:
            raise BadItem("its values are nested too deeply", str(path)) from error
    except BadItem as error:
        line = f" (line {error.line})" if error.line else ""
        command = " ".join(filter(None, ("mmrs scan", name, shlex.quote(str(root)), options)))
        raise UserError(
            f"{name}: {error.path or path}{line}: {error.reason}. A whole split depends on this file: "
            f"{error.remedy or remedy}, then `{command}`."
        ) from error
