"""`mmrs merge`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmrs.commands.options import LOCATION, copy_option, workers_option

if TYPE_CHECKING:
    from mmrs.progress import Progress


@click.command()
@click.argument("locations", metavar="DIR_OR_URL...", type=LOCATION, nargs=-1, required=True)
@click.option("--out", type=LOCATION, required=True, metavar="DIR_OR_URL", help="Of the new data set.")
@click.option("--source", "sources", multiple=True, help="Only this source; repeatable. Default: all.")
@click.option("--split", "splits", multiple=True, help="Only this split; repeatable. Default: all.")
@click.option("--first-wins", is_flag=True, help="Take a source from the first data set that has it, not from all.")
@copy_option
@workers_option
@click.pass_obj
def merge(progress: Progress, locations: tuple[Path | str, ...], workers: int, **options: Any) -> None:
    """Make one data set of the shards of several, without writing an image anew; or take a part of one.

    The manifest names the builds behind it. Data sets that describe one source in two ways, or have other shards with
    the same keys, are refused. A merge that was stopped goes on when its command is given again.
    """
    from mmrs.builder.reuse.merge import MergeConfig, describe_reuse, merge_data_sets

    config = MergeConfig(
        locations,
        options["out"],
        options["sources"] or None,
        options["splits"] or None,
        options["first_wins"],
        links=not options["copy"],
    )
    click.echo(describe_reuse(merge_data_sets(config, progress, workers)))
