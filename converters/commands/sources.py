"""`mmrs sources`."""

from __future__ import annotations

import click

from mmrs.commands.options import json_option


@click.command()
@click.argument("name", required=False)
@json_option
def sources(name: str | None, as_json: bool) -> None:
    """List the data sets that can be converted, or show one: tasks, sensor, licence, splits, layout, options."""
    from converters.describe import describe_sources

    click.echo(describe_sources(name, as_json))
