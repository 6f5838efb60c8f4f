"""`mmrs split`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmrs.commands.options import LOCATION, copy_option, workers_option

if TYPE_CHECKING:
    from mmrs.progress import Progress


@click.command()
@click.argument("location", metavar="DIR_OR_URL", type=LOCATION)
@click.option("--out", type=LOCATION, required=True, metavar="DIR_OR_URL", help="The new data sets are folders of it.")
@click.option("--by", type=click.Choice(["source", "split", "sensor"]), help="One data set for each.")
@click.option(
    "--hold-out",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Two data sets, kept/ and held-out/: of each training split about this share of the images, in whole shards.",
)
@click.option("--seed", default=0, show_default=True, help="Which shards are held out.")
@copy_option
@workers_option
@click.pass_obj
def split(progress: Progress, location: Path | str, out: Path | str, workers: int, **options: Any) -> None:
    """Cut a data set into several by its shards, without writing an image anew.

    What is held out is for evaluation alone; other splits stay in kept/. `mmrs curate kept held-out` finds copies
    across the two. `mmrs merge` puts parts by source, split or sensor together again.
    """
    from mmrs.builder.reuse.merge import describe_reuse
    from mmrs.builder.reuse.split import HeldOutShare, split_data_set

    by, share = options["by"], options["hold_out"]
    if (by is None) == (share is None):
        raise click.UsageError("give --by source, split or sensor, or --hold-out SHARE")
    rule = by if share is None else HeldOutShare(share, options["seed"])
    results = split_data_set(location, out, rule, progress, workers, links=not options["copy"])
    click.echo("\n\n".join(describe_reuse(result) for result in results))
