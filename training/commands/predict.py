"""`mmrs predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmrs.commands.options import FOLDER

if TYPE_CHECKING:
    from mmrs.progress import Progress


@click.command()
@click.argument("model", type=FOLDER)
@click.argument("images", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--out", type=FOLDER, required=True, help="Folder for predictions.json, coco.json, dota/ and geojson/.")
@click.option("--task", metavar="NAME", help="Default: detection-hbb; or detection-obb, classification, captioning.")
@click.option("--class", "category", default="", help="Detect this class alone.")
@click.option("--sensor", type=click.Choice(["optical", "sar", "infrared"]), default="optical", show_default=True)
@click.option(
    "--window",
    type=click.IntRange(min=0),
    default=1024,
    show_default=True,
    help="Larger images are asked about by windows of so many pixels; 0: never.",
)
@click.option("--overlap", type=click.IntRange(min=0), default=200, show_default=True, help="Of windows, in pixels.")
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Leave out boxes whose tokens are less probable, by their geometric mean.",
)
@click.option("--max-tokens", "max_new_tokens", type=click.IntRange(min=1), default=512, show_default=True)
@click.option("--dialect", default="", metavar="NAME", help="Of its boxes. Default: that of its training data.")
@click.option("--device", default="auto", show_default=True)
@click.pass_obj
def predict(
    progress: Progress, model: Path, images: tuple[Path, ...], out: Path, dialect: str, device: str, **options: Any
) -> None:
    """Ask MODEL about IMAGES, files or folders of them, and write what it finds as JSON, COCO, DOTA and GeoJSON.

    An image that cannot be read is named and left out; the exit code is then 1.
    """
    from mmrs.errors import RunFailure
    from training.serving.load import dialect_of, open_engine
    from training.serving.pictures import images_of_paths
    from training.serving.predict import PredictOptions, run_predict

    given = {name: value for name, value in options.items() if value is not None}
    asked, named, paths = PredictOptions(**given), dialect_of(model, dialect), images_of_paths(images)
    engine = open_engine(model, device)
    try:
        told = run_predict(engine, paths, out, asked, named, progress)
    finally:
        engine.close(0)
    click.echo(told.text)
    if told.unread:
        raise RunFailure(
            f"{len(told.unread)} of {len(paths)} images cannot be read: {told.unread[0]}"
            + (", and others named above" if len(told.unread) > 1 else "")
        )
