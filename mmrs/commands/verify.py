"""`mmrs verify`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmrs.commands.options import LOCATION, workers_option

if TYPE_CHECKING:
    from mmrs.progress import Progress


@click.command()
@click.argument("location", metavar="DIR_OR_URL", type=LOCATION)
@workers_option
@click.option("--repair-index", is_flag=True, help="Write an index beside each sound tar that is not ours.")
@click.pass_obj
def verify(progress: Progress, location: Path | str, workers: int, repair_index: bool) -> None:
    """Check every byte, member, record and image of a data set of `mmrs build`, or of any WebDataset tars.

    DIR_OR_URL is a data set, a folder of tars, or one tar; at a URL a data set only. Exit code 1 on any finding.
    """
    from mmrs.verify.dataset import describe_verification, verify_dataset
    from mmrs.verify.webdataset import describe_webdataset, verify_webdataset

    if isinstance(location, Path) and not _is_built(location):
        tars = verify_webdataset(location, workers, progress, repair_index)
        click.echo(describe_webdataset(tars))
        sound = not tars.findings
    else:
        checked = verify_dataset(location, workers, progress)
        click.echo(describe_verification(checked))
        sound = not checked.findings
    if not sound:
        sys.exit(1)


def _is_built(folder: Path) -> bool:
    return (folder / "manifest.json").exists() or (folder / ".build").is_dir()
