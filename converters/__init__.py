"""Source data sets, in the layout their users download, to validated annotations: one lazily imported module each.

What the package hands on is imported when it is first used, so that the help of a command costs none of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from converters.base import Converter, get, option_names
    from converters.catalog import SourceFacts, facts, names

__all__ = ["Converter", "SourceFacts", "facts", "get", "names", "option_names"]

_HOMES = {
    "Converter": "converters.base",
    "SourceFacts": "converters.catalog",
    "facts": "converters.catalog",
    "get": "converters.base",
    "names": "converters.catalog",
    "option_names": "converters.base",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
