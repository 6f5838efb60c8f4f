"""`mmrs train`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mmrs.commands.options import overrides_option

if TYPE_CHECKING:
    from mmrs.progress import Progress


@click.command()
@click.argument("recipe")
@overrides_option
@click.option("--fresh", is_flag=True, help="Refuse to continue a run that is already in the recipe's `out`.")
@click.option("--plan", "plan_only", is_flag=True, help="Print what an epoch holds and stop; no model is loaded.")
@click.option(
    "--sample",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Draw the first N images as the model will see them, with tokens and loss, into one HTML page, and stop.",
)
@click.pass_obj
def train(
    progress: Progress, recipe: str, overrides: tuple[str, ...], fresh: bool, plan_only: bool, sample: int | None
) -> None:
    """Train EarthGPT on shards as RECIPE says (a YAML file, or the name of one in training/recipes).

    A run that was stopped continues from its newest checkpoint when the same command is given again.
    """
    from training.commands.recipe import find_train_recipe
    from training.config import load_config

    config = load_config(find_train_recipe(recipe), overrides)
    if plan_only:
        from training.report.plan_preview import preview

        click.echo(preview(config, progress))
        return
    if sample is not None:
        from training.run.sample_page import draw_samples

        click.echo(draw_samples(config, sample, progress))
        return
    from training.run.signals import RunStopped
    from training.run.train import describe_run
    from training.run.train import train as run_training

    try:
        result = run_training(config, progress, fresh)
    except RunStopped as stopped:
        click.echo(stopped.message, err=True)
        raise
    if result.rank == 0:
        click.echo(describe_run(result))
