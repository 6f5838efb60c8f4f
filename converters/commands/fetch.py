"""`mmrs fetch`; here and not in mmrs, because where the sources come from are facts about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmrs.commands.options import LocalFolder, filled, name_values

if TYPE_CHECKING:
    from mmrs.progress import Progress


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """What `mmrs fetch` was given, by the names of its options."""

    sources: tuple[str, ...]
    data: Path
    variants: dict[str, str]
    accept: bool
    keep_archives: bool
    parallel: int
    dry_run: bool


@click.command()
@click.argument("sources", nargs=-1, required=True)
@click.option(
    "--to",
    "data",
    required=True,
    metavar="DATA",
    type=LocalFolder("files are fetched to this machine"),
    help="Folder that gets one folder per source; a fetch that was stopped continues there.",
)
@click.option(
    "--variant",
    "variants",
    multiple=True,
    metavar="SOURCE=NAME",
    callback=name_values,
    help="Of a source with several forms, which one; repeatable. --dry-run shows the one that is taken.",
)
@click.option("--accept", is_flag=True, help="Take the terms that are shown; asked once per source and folder.")
@click.option("--keep-archives", is_flag=True, help="Keep archives, in DATA/mmrs-archives, after they are unpacked.")
@click.option("--parallel", default=4, show_default=True, type=click.IntRange(1, 32), help="Files at a time.")
@click.option("--dry-run", is_flag=True, help="Print files, bytes and licences, and stop.")
@click.pass_obj
@filled(FetchOptions)
def fetch(progress: Progress, options: FetchOptions) -> None:
    """Download SOURCES into DATA, check every sum that is known, and unpack them into the layout that is read.

    SOURCES are names of `mmrs sources`, mmrs-1m for all of its recipe, or mmrs-1m-release. What has to be fetched by
    hand is said, and the rest goes on. A second run does nothing.
    """
    from converters.downloads import arrivals, describe_arrivals, requests_for
    from mmrs.errors import RunFailure
    from mmrs.fetch.plan import LISTING_PATIENCE, describe_fetch_plan, plan_fetch
    from mmrs.fetch.record import FetchRecord
    from mmrs.fetch.run import DEFAULT_PATIENCE, FetchConfig, run_fetch
    from mmrs.fetch.services.endpoints import Endpoints
    from mmrs.installation import shipped_recipes

    requests = requests_for(options.sources, options.variants)
    record = FetchRecord(options.data)
    plan = plan_fetch(requests, record, Endpoints(), LISTING_PATIENCE)
    click.echo(describe_fetch_plan(plan, with_files=options.dry_run))
    if options.dry_run:
        return
    config = FetchConfig(options.accept, options.keep_archives, options.parallel, DEFAULT_PATIENCE)
    with record.held():
        outcome = run_fetch(plan, record, config, progress)
    recipe = next((word for word in options.sources if word in shipped_recipes("mmrs.builder")), None)
    click.echo(describe_arrivals(options.data, arrivals(options.data, requests), recipe))
    if outcome.failures:
        raise RunFailure(outcome.describe_failures())
