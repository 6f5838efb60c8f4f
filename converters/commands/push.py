"""`mmrs push`; here and not in mmrs, because the card says of each source what its facts say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmrs.commands.options import FILE, LocalFolder

if TYPE_CHECKING:
    from mmrs.progress import Progress

_VIEWER_PIXELS = 384


@click.command()
@click.argument("folder", type=LocalFolder("the Hub client uploads files of this machine"))
@click.argument("repo")
@click.option("--private", is_flag=True, help="Create the repository as private; an existing public one is refused.")
@click.option("--dry-run", is_flag=True, help="Say what would be uploaded, and stop.")
@click.option("--allow-unknown-licences", is_flag=True, help="Publish sources that state no licence.")
@click.option(
    "--scores", type=FILE, multiple=True, help="scores.json of `mmrs eval` on this data set, for the card; repeatable."
)
@click.option(
    "--viewer-parquet",
    "viewer_images",
    type=click.IntRange(1),
    is_flag=False,
    flag_value=1000,
    metavar="[IMAGES]",
    help="A second repository, REPO-viewer, for the Hub's viewer: thumbnails with texts of 1,000 images a split.",
)
@click.option("--endpoint", help="Another Hub than the default.")
@click.pass_obj
def push(
    progress: Progress, folder: Path, repo: str, scores: tuple[Path, ...], viewer_images: int | None, **options: Any
) -> None:
    """Publish a data set on the Hugging Face Hub as REPO (ORG/NAME): shards first, manifest and card last.

    A push that was interrupted continues; a second push of the same data uploads nothing. The token is that of
    `hf auth login` or HF_TOKEN and is never printed.
    """
    import tempfile
    from functools import partial

    from converters.describe import source_notes
    from mmrs.hub.push import BesideShards, PushOptions, describe_push, push_viewer
    from mmrs.hub.push import push as run_push
    from mmrs.hub.viewer import write_viewer_tables
    from mmrs.report.plots import card_plots
    from mmrs.report.thumbnail import side_by_side
    from mmrs.shards.manifest import load_manifest

    chosen = PushOptions(**options)
    notes = source_notes()
    beside = BesideShards(notes, card_plots(folder, progress), scores)
    click.echo(describe_push(run_push(folder, repo, chosen, progress, beside)))
    if viewer_images is None:
        return
    small = partial(side_by_side, side_pixels=_VIEWER_PIXELS)
    with tempfile.TemporaryDirectory(prefix="mmrs-viewer-") as made:
        tables = write_viewer_tables(folder, Path(made), viewer_images, small, progress)
        click.echo(describe_push(push_viewer(load_manifest(folder), repo, tables, chosen, progress, notes)))
