"""The data core: records, geometry, images, instructions, shards and builds.

Knows no single data set and no torch. Imports point down only: ``cli -> training, converters -> mmrs``.

    import mmrs

    data = mmrs.open("shards")
    sample = data[0]                  # sample.image, sample.record

`mmrs.open`, `mmrs.DataSet`, `mmrs.Sample` and `mmrs.SampleStream` are kept: what they take and give changes with the
first number of the version alone.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
_PUBLIC = {
    "open": ("mmrs.data_set.data_set", "open_data_set"),
    "DataSet": ("mmrs.data_set.data_set", "DataSet"),
    "Sample": ("mmrs.data_set.sample", "Sample"),
    "SampleStream": ("mmrs.data_set.stream", "SampleStream"),
}


def __getattr__(name: str) -> Any:
    """The public names, loaded when they are first asked for: every command imports this package."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _PUBLIC[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
