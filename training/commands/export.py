"""`mmrs export-model` and `mmrs export-checkpoint`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmrs.commands.options import FILE, FOLDER

if TYPE_CHECKING:
    from training.model.export.export import ExportForm


@click.command()
@click.argument("model", type=FOLDER)
@click.argument("out", type=FOLDER)
@click.option(
    "--form",
    type=click.Choice(["folded", "language-model", "delta"]),
    default="folded",
    show_default=True,
    help="A plain EarthGPT; its language model alone; or only what training changed.",
)
@click.option("--delta", type=FOLDER, help="Put this delta onto MODEL first.")
@click.option("--base", type=FOLDER, help="With --form delta: the model that training started from.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), help="Of the written weights.")
@click.option(
    "--scores", multiple=True, type=FILE, help="A scores.json of `mmrs eval`, for the model card; repeatable."
)
def export_model(
    model: Path,
    out: Path,
    form: ExportForm,
    delta: Path | None,
    base: Path | None,
    dtype: str | None,
    scores: tuple[Path, ...],
) -> None:
    """Write a trained MODEL, such as RUN/model, for others: tuning vectors folded, model card beside it."""
    from training.model.export.export import export
    from training.model.folder import quiet_transformers

    with quiet_transformers():
        click.echo(export(model, out, form, delta=delta, base=base, dtype=dtype, scores=scores))


@click.command()
@click.argument("checkpoint", type=FOLDER)
@click.argument("out", type=FOLDER)
def export_checkpoint(checkpoint: Path, out: Path) -> None:
    """Write the model of CHECKPOINT, such as RUN/checkpoints/step-00000100, as OUT/model in the form of RUN/model."""
    from training.model.folder import quiet_transformers
    from training.run.final_model import export_checkpoint as run_export

    with quiet_transformers():
        click.echo(f"written: {run_export(checkpoint, out)}")
