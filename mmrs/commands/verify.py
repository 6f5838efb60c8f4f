"""`mmrs verify`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmrs.commands.options import LOCATION, address_option, engine_option, workers_option

if TYPE_CHECKING:
    from mmrs.progress import Progress


@click.command()
@click.argument("location", metavar="DIR_OR_URL", type=LOCATION)
@workers_option
@engine_option
@address_option
@click.option("--repair-index", is_flag=True, help="Write an index beside each sound tar that is not ours.")
@click.pass_obj
def verify(
    progress: Progress, location: Path | str, workers: int, engine: str, address: str | None, repair_index: bool
) -> None:
    """Check every byte, member, record and image of a data set of `mmrs build`, or of any WebDataset tars.

    DIR_OR_URL is a data set, a folder of tars, or one tar; at a URL a data set only. Exit code 1 on any finding.
    """
    from mmrs.engines.choose import choose_engine
    from mmrs.verify.dataset import describe_verification, verify_dataset
    from mmrs.verify.webdataset import describe_webdataset, verify_webdataset

    chosen = choose_engine(engine, workers, address)
    if isinstance(location, Path) and not _is_built(location):
        if engine != "processes":
            raise click.UsageError(
                f"{location} is no data set of `mmrs build`: tars of others are checked without --engine."
            )
        tars = verify_webdataset(location, workers, progress, repair_index)
        click.echo(describe_webdataset(tars))
        sound = not tars.findings
    else:
        checked = verify_dataset(location, workers, progress, engine=chosen)
        click.echo(describe_verification(checked))
        sound = not checked.findings
    if not sound:
        sys.exit(1)


def _is_built(folder: Path) -> bool:
    return (folder / "manifest.json").exists() or (folder / ".build").is_dir()
