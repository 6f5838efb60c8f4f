"""`mmrs sample`."""

from __future__ import annotations

from pathlib import Path

import click

from mmrs.commands.options import FOLDER, converter_options


@click.command()
@click.argument("source")
@click.option("--out", type=FOLDER, required=True, help="Folder to write to; must not exist or be empty.")
@click.option("--seed", default=0, show_default=True, help="Same seed, same files.")
@converter_options
def sample(source: str, out: Path, seed: int, options: dict[str, str]) -> None:
    """Write a small generated stand-in of SOURCE in its true layout, to try a recipe without any download."""
    from converters.describe import write_sample

    click.echo(write_sample(source, out, seed, options))
