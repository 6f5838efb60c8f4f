"""Pieces that commands share: types of folders, repeated NAME=VALUE options, and options as one dataclass.

A command with more than seven options is handed one frozen dataclass, which `filled` builds from what click parsed.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


class LocalFolder(click.Path):
    """A folder of this machine; a URL is refused with the reason and what to do instead."""

    def __init__(self, reason: str = "this needs a folder of this machine") -> None:
        super().__init__(file_okay=False, path_type=Path)
        self.reason = reason

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from mmrs.storage.urls import is_url, without_secrets

        if is_url(value):
            self.fail(f"{without_secrets(value)}: {self.reason}; copy the data set to a folder first.", param, ctx)
        return super().convert(value, param, ctx)


class DataSetLocation(click.ParamType):
    """A data set's folder as `Path`, or its URL as text in one form."""

    name = "DIR_OR_URL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from mmrs.storage.urls import parse_location

        return parse_location(value)


FOLDER = LocalFolder()
LOCATION = DataSetLocation()
FILE = click.Path(dir_okay=False, path_type=Path)


def name_values(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Callback of a repeated ``NAME=VALUE`` option: a mapping."""
    pairs = {}
    for value in values:
        name, separator, content = value.partition("=")
        if not separator or not name or not content:
            raise click.BadParameter(f"{value!r} must look like NAME=VALUE", context, parameter)
        pairs[name] = content
    return pairs


def filled(kind: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Hand a command its options as one `kind`, a dataclass whose fields have the names of the options."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(*before: Any, **values: Any) -> None:
            command(*before, kind(**values))

        return run

    return decorate


workers_option = click.option(
    "--workers", default=os.cpu_count() or 1, show_default=True, type=click.IntRange(1), help="Processes."
)
engine_option = click.option(
    "--engine",
    type=click.Choice(["processes", "ray"]),
    default="processes",
    show_default=True,
    help="Where shards are read; the outcome is the same.",
)
address_option = click.option(
    "--address",
    metavar="HOST:PORT",
    help="A Ray cluster that runs already (default RAY_ADDRESS; else one of --workers).",
)
copy_option = click.option("--copy", is_flag=True, help="Copy files and check their digests; default: hard links.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
converter_options = click.option(
    "--option",
    "--set",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    callback=name_values,
    help="Option of the source, as `mmrs build` takes it too; repeatable.",
)
overrides_option = click.option(
    "--set", "overrides", multiple=True, metavar="A.B=C", help="Change a key of the recipe; repeatable."
)
