"""`mmrs stats`."""

from __future__ import annotations

from pathlib import Path

import click

from mmrs.commands.options import FOLDER, LOCATION, json_option


@click.command()
@click.argument("location", metavar="DIR_OR_URL", type=LOCATION)
@json_option
@click.option("--parquet", type=FOLDER, help="Write the tables as Parquet into this folder too.")
def stats(location: Path | str, as_json: bool, parquet: Path | None) -> None:
    """Count a data set by source, sensor, task, class, image size and text length, from its indexes alone."""
    from mmrs.report.statistics import describe_statistics, statistics, to_json, write_parquet

    found = statistics(location)
    click.echo(to_json(found).decode() if as_json else describe_statistics(found))
    if parquet:
        write_parquet(found, parquet)
