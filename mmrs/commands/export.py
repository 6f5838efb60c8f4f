"""`mmrs export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmrs.commands.options import LOCATION, address_option, engine_option, workers_option

if TYPE_CHECKING:
    from mmrs.progress import Progress


@click.command()
@click.argument("location", metavar="DIR_OR_URL", type=LOCATION)
@click.option(
    "--format",
    "form",
    required=True,
    metavar="NAME",
    help=(
        "Boxes: coco, dota, yolo, yolo-obb, fiftyone, geojson. Conversations: llava, ms-swift, llama-factory, "
        "qwen3-vl, qwen2.5-vl, internvl, geochat, earthdial, paligemma, florence-2, messages (TRL and `datasets`)."
    ),
)
@click.option(
    "--out", type=LOCATION, required=True, metavar="DIR_OR_URL", help="A new folder, or a URL such as s3://BUCKET/NAME."
)
@click.option("--split", "splits", multiple=True, help="Only this split; repeatable. Default: all.")
@click.option("--source", "sources", multiple=True, help="Only this source; repeatable. Default: all.")
@click.option(
    "--obb",
    type=click.Choice(["refuse", "envelope"]),
    default="refuse",
    show_default=True,
    help="Of oriented objects in formats of horizontal boxes: leave out and count, or write their extents.",
)
@click.option(
    "--boxes",
    default="",
    metavar="STYLE",
    help=(
        "How texts of llava, llama-factory and messages write boxes: shards (as they are, the default), qwen3-vl, "
        "qwen2.5-vl, internvl, geochat, earthdial."
    ),
)
@click.option(
    "--max-pixels",
    type=click.IntRange(min=784),
    default=12_845_056,
    show_default=True,
    help="`max_pixels` of the training, for boxes of Qwen2.5-VL: they are pixels of the image as it resizes it.",
)
@click.option(
    "--images",
    type=click.Choice(["copy", "link", "reference", "none"]),
    default="copy",
    show_default=True,
    help="Copied; hard links to those of another export; named by tar://MEMBER::SHARD, for fsspec; or labels alone.",
)
@click.option(
    "--images-from",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="EXPORT",
    help="The export that `--images link` links to.",
)
@workers_option
@engine_option
@address_option
@click.pass_obj
def export(progress: Progress, location: Path | str, **options: Any) -> None:
    """Write a data set in the files of another program: detection labels or conversations, with their images.

    A README.md inside says in which frame boxes are written and how they are rounded, what was left out and why, and
    the licence of every source. A stopped export goes on when its command is given again. The bytes are the same for
    any number of workers and on Ray.
    """
    from mmrs.engines.choose import choose_engine
    from mmrs.export.run import ExportConfig, describe_export, write_export

    engine = choose_engine(options.pop("engine"), options.pop("workers"), options.pop("address"))
    config = ExportConfig(
        location,
        options.pop("form"),
        options.pop("out"),
        options.pop("splits") or None,
        options.pop("sources") or None,
        **options,
    )
    click.echo(describe_export(write_export(config, progress, engine)))
