"""Where the command `mmrs` starts: the packages beside this one are taken, whatever the working directory holds.

With PYTHONPATH or `python -m` a folder of the user's goes before ours on `sys.path`. Ours are loaded when this module
is imported: worker processes that are spawned import it again, and find the same.
"""

from __future__ import annotations

import os
import sys

import click

from mmrs.commands.lazy import LazyGroup
from mmrs.installation import HOME, load_beside

for _name in ("converters", "training"):
    load_beside(_name)

# Plugins of pydantic are searched in every package that is installed: 18 ms of each command, and none is of use here.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def main() -> None:
    """Run the command line."""
    command = getattr(load_beside("cli"), "main", None)
    if not isinstance(command, LazyGroup):
        # Two distributions with a module of this name overwrite each other's, and pip says nothing.
        click.echo(
            f"error: {HOME / 'cli.py'} belongs to another package. Install mmrs into an environment of its own: "
            "pipx install mmrs",
            err=True,
        )
        sys.exit(1)
    command()


if __name__ == "__main__":
    main()
