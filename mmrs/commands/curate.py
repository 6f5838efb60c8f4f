"""`mmrs curate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmrs.commands.options import LOCATION, address_option, engine_option, json_option, workers_option

if TYPE_CHECKING:
    from mmrs.progress import Progress


@click.command()
@click.argument("locations", metavar="DIR_OR_URL...", type=LOCATION, nargs=-1, required=True)
@click.option(
    "--train-split", "train_splits", multiple=True, help="Trained on; repeatable. Default: as the data set was built."
)
@click.option(
    "--out", type=LOCATION, metavar="DIR_OR_URL", help="Where to write; of several, into folders. Default: beside each."
)
@json_option
@workers_option
@engine_option
@address_option
@click.pass_obj
def curate(progress: Progress, locations: tuple[Path | str, ...], out: Path | str | None, **options: Any) -> None:
    """Find copies across all sources and splits, training images that leak into evaluation, and faults in the text.

    Writes curation.jsonl and curation.json beside the data set; http and hf are read-only and need --out. To remove the
    leaks, build the data set again with `--set exclude=DIR_OR_URL/curation.jsonl`: only shards that lose an image are
    written again. Every split that is no training split, and every source for evaluation only, counts as evaluated;
    evaluated images are never removed.

    Several data sets are looked at together: copies and leaks across them count, and each gets a list of its own.
    """
    from mmrs.curation.report import describe_curation, summaries_json, summary_json
    from mmrs.curation.run import CuratedSet, curate_sets, place_for_curation, places_for_several, policies_of
    from mmrs.engines.choose import choose_engine
    from mmrs.errors import UserError
    from mmrs.shards.reader import ShardSet

    if len(set(locations)) < len(locations):
        raise UserError("a data set is named twice; name each once.")
    targets = places_for_several(locations, out)
    for target in targets:
        # A URL that can only be read must not wait for the data set.
        place_for_curation(target)
    engine = choose_engine(options["engine"], options["workers"], options["address"])
    sets = [ShardSet(location) for location in locations]
    policies = policies_of(sets, options["train_splits"])
    chosen = [CuratedSet(*values) for values in zip(sets, policies, targets, strict=True)]
    reports = curate_sets(chosen, progress, engine, options["workers"])
    if options["as_json"]:
        click.echo(summary_json(reports[0]) if len(reports) == 1 else summaries_json(reports))
        return
    for location, target, report in zip(locations, targets, reports, strict=True):
        if len(reports) > 1:
            click.echo(f"{location}:")
        click.echo(describe_curation(report, location, target))
