"""Where a source is not found with the options at hand: the option with which it is.

Sources come in forms (two products, three releases, boxes of two kinds) of which an option reads one. Whoever holds
another one is told so here, for all sources alike, by trying.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from converters.base import Converter
from mmrs.errors import UserError
from mmrs.source import SourceBuild


def other_option(source: Converter, root: Path, splits: Sequence[str], prefix: str = "") -> str:
    """A line with ``--option NAME=VALUE`` that finds a split of `source`, to end an error; empty where none does.

    Args:
        prefix: what stands before the option's name, ``SOURCE.`` where a recipe has several.
    """
    if _finds(source, root, splits):
        return ""
    for name, value in _other_values(source):
        if _finds(replace(source, **{name: value}), root, splits):
            return f"\n  here:     `--option {shlex.quote(f'{prefix}{name}={value}')}` reads what is there"
    return ""


def other_options(builds: Sequence[SourceBuild]) -> str:
    """The same of every source of a build."""
    return "".join(
        other_option(build.source, build.root, build.splits, f"{build.source.name}." if len(builds) > 1 else "")
        for build in builds
        if isinstance(build.source, Converter)
    )


def _other_values(source: Converter) -> Iterator[tuple[str, Any]]:
    hints = get_type_hints(type(source))
    for field in fields(source):
        if get_origin(hints[field.name]) is Literal:
            own = getattr(source, field.name)
            yield from ((field.name, value) for value in get_args(hints[field.name]) if value != own)


def _finds(source: Converter, root: Path, splits: Sequence[str]) -> bool:
    for split in splits:
        with suppress(UserError):
            if source.discover(root, split).items:
                return True
    return False
