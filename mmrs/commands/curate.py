"""`mmrs curate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmrs.commands.options import FOLDER, json_option, workers_option

if TYPE_CHECKING:
    from mmrs.progress import Progress


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--train-split", "train_splits", multiple=True, help="Trained on; repeatable. Default: as the data set was built."
)
@json_option
@workers_option
@click.pass_obj
def curate(progress: Progress, folder: Path, train_splits: tuple[str, ...], as_json: bool, workers: int) -> None:
    """Find copies across all sources and splits, training images that leak into evaluation, and faults in the text.

    Writes curation.jsonl and curation.json into FOLDER. To remove the leaks, build FOLDER again with
    `--set exclude=FOLDER/curation.jsonl`: only shards that lose an image are written again. Every split that is no
    training split, and every source for evaluation only, counts as evaluated; evaluated images are never removed.
    """
    from mmrs.curation.guard import policy_of
    from mmrs.curation.report import describe_curation
    from mmrs.curation.run import curate as run_curate
    from mmrs.shards.manifest import load_manifest

    result = run_curate(folder, progress, policy_of(load_manifest(folder), train_splits), workers)
    click.echo((folder / "curation.json").read_text() if as_json else describe_curation(result, folder))
