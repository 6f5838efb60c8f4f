"""`mmrs export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmrs.commands.options import LOCATION

if TYPE_CHECKING:
    from mmrs.progress import Progress


@click.command()
@click.argument("location", metavar="DIR_OR_URL", type=LOCATION)
@click.option(
    "--format",
    "form",
    required=True,
    metavar="NAME",
    help="coco, dota, yolo, yolo-obb (boxes for detectors), llava (conversations).",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIRECTORY", help="A new folder.")
@click.option("--split", "splits", multiple=True, help="Only this split; repeatable. Default: all.")
@click.option("--source", "sources", multiple=True, help="Only this source; repeatable. Default: all.")
@click.option(
    "--obb",
    type=click.Choice(["refuse", "envelope"]),
    default="refuse",
    show_default=True,
    help="Of oriented objects in formats of horizontal boxes: leave out and count, or write their extents.",
)
@click.option("--no-images", is_flag=True, help="Labels and texts alone.")
@click.pass_obj
def export(progress: Progress, location: Path | str, **options: Any) -> None:
    """Write a data set in the files of another program: detection labels or conversations, with their images.

    A README.md inside says how boxes are written, what was left out and why, and the licence of every source.
    """
    from mmrs.export.run import ExportConfig, describe_export, write_export

    config = ExportConfig(
        location,
        options["form"],
        options["out"],
        options["splits"] or None,
        options["sources"] or None,
        options["obb"],
        not options["no_images"],
    )
    click.echo(describe_export(write_export(config, progress)))
