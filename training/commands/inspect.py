"""`mmrs inspect`."""

from __future__ import annotations

import click

from mmrs.commands.options import overrides_option


@click.command("inspect")
@click.argument("model")
@click.option(
    "--recipe", help="What this training recipe would train: a YAML file, or the name of one in training/recipes."
)
@overrides_option
def inspect_model(model: str, recipe: str | None, overrides: tuple[str, ...]) -> None:
    """Show parts, licences and parameters of MODEL, a folder or a preset, and what --recipe trains at what cost."""
    if overrides and recipe is None:
        raise click.UsageError("--set changes a recipe; give --recipe too")
    from mmrs.text import harmless
    from training.commands.recipe import find_train_recipe
    from training.config import load_config
    from training.report.model_report import inspect

    click.echo(harmless(inspect(model, load_config(find_train_recipe(recipe), overrides) if recipe else None)))
