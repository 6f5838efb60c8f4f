"""A group whose commands are named in a table and imported when they are asked for.

`mmrs COMMAND` so imports the module of that command alone, and `mmrs --help` small modules that import click and
nothing heavy: what a command runs is imported inside its function. A misspelt command is answered with the nearest.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from mmrs.text import nearest


class LazyGroup(click.Group):
    """A click group over a table of command name -> ``module:attribute``."""

    def __init__(self, *args: Any, table: Mapping[str, str], **options: Any):
        super().__init__(*args, **options)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.table:
            return None
        module, _, attribute = self.table[cmd_name].partition(":")
        return getattr(import_module(module), attribute)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if word in self.table or word.startswith("-"):
            return super().resolve_command(ctx, args)
        ctx.fail(f"no such command {word!r}{nearest(word, self.table)}. `{ctx.command_path} --help` lists them.")
