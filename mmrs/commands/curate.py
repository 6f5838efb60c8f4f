"""`mmrs curate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmrs.commands.options import LOCATION, json_option, workers_option

if TYPE_CHECKING:
    from mmrs.progress import Progress


@click.command()
@click.argument("location", metavar="DIR_OR_URL", type=LOCATION)
@click.option(
    "--train-split", "train_splits", multiple=True, help="Trained on; repeatable. Default: as the data set was built."
)
@click.option("--out", type=LOCATION, metavar="DIR_OR_URL", help="Where to write. Default: beside the data set.")
@json_option
@workers_option
@click.pass_obj
def curate(
    progress: Progress,
    location: Path | str,
    train_splits: tuple[str, ...],
    out: Path | str | None,
    as_json: bool,
    workers: int,
) -> None:
    """Find copies across all sources and splits, training images that leak into evaluation, and faults in the text.

    Writes curation.jsonl and curation.json beside the data set; http and hf are read-only and need --out. To remove the
    leaks, build the data set again with `--set exclude=DIR_OR_URL/curation.jsonl`: only shards that lose an image are
    written again. Every split that is no training split, and every source for evaluation only, counts as evaluated;
    evaluated images are never removed.
    """
    from mmrs.curation.guard import policy_of
    from mmrs.curation.report import describe_curation, summary_json
    from mmrs.curation.run import curate as run_curate
    from mmrs.curation.run import place_for_curation
    from mmrs.shards.reader import ShardSet

    target = location if out is None else out
    # A URL that can only be read must not wait for the data set.
    place_for_curation(target)
    policy = policy_of(ShardSet(location).manifest, train_splits)
    result = run_curate(location, progress, policy, workers, out=target)
    if as_json:
        click.echo(summary_json(result))
    else:
        click.echo(describe_curation(result, location, target))
