"""Box dialects: how the coordinates of a box are written, read, generated and turned. One file per dialect.

Another dialect is one file here with a `Dialect` in it, and its registration below; recipes, builds, text checks,
augmentation, constrained generation and scores take it from the registry. A data set's manifest names its dialect.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mmrs.errors import UserError
from mmrs.instructions.dialects import mmrs, mmrs1m
from mmrs.instructions.dialects.dialect import HORIZONTAL, ORIENTED, Dialect, ParsedBoxes
from mmrs.text import nearest

__all__ = ["DIALECTS", "HORIZONTAL", "ORIENTED", "Dialect", "ParsedBoxes", "dialect", "register_dialect"]

_REGISTERED: dict[str, Dialect] = {}
DIALECTS: Mapping[str, Dialect] = MappingProxyType(_REGISTERED)


def register_dialect(new: Dialect) -> None:
    """Make a dialect known by its name. Raises ValueError where another one has that name."""
    if _REGISTERED.setdefault(new.name, new) != new:
        raise ValueError(f"there is a dialect {new.name!r} already: {_REGISTERED[new.name]}")


def dialect(name: str) -> Dialect:
    """The dialect of that name. Raises UserError that lists the known ones."""
    if name not in DIALECTS:
        raise UserError(
            f"dialect {name!r} is not known{nearest(name, DIALECTS)}"
            f"; set `dialect:` to one of {', '.join(sorted(DIALECTS))}."
        )
    return DIALECTS[name]


register_dialect(mmrs.DIALECT)
register_dialect(mmrs1m.DIALECT)
