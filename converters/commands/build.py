"""`mmrs build`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmrs.commands.options import filled, name_values, overrides_option, workers_option

if TYPE_CHECKING:
    from mmrs.progress import Progress


# What a process that writes shards of any source needs; the module of its source comes besides.
WORKER_MODULES = ("mmrs.builder.parts.write", "converters.formats.coco", "converters.formats.voc")


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What `mmrs build` was given, by the names of its options."""

    recipe: str
    out: str
    roots: dict[str, str]
    options: dict[str, str]
    overrides: tuple[str, ...]
    workers: int
    engine: str
    address: str | None
    follow_links: bool
    drop_sources: bool
    dry_run: bool
    as_json: bool


@click.command()
@click.argument("recipe")
@click.option(
    "--out",
    metavar="DIR_OR_URL",
    required=True,
    help="Folder of the data set, or a URL such as s3://BUCKET/FOLDER; an interrupted build continues there.",
)
@click.option(
    "--root",
    "roots",
    multiple=True,
    metavar="SOURCE=DIR",
    callback=name_values,
    help="Where a source lies; repeatable.",
)
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="[SOURCE.]NAME=VALUE",
    callback=name_values,
    help="Option of a source, as `mmrs scan` takes it; repeatable. SOURCE. where the recipe has several.",
)
@overrides_option
@workers_option
@click.option(
    "--engine",
    type=click.Choice(["processes", "ray"]),
    default="processes",
    show_default=True,
    help="Where shards are made; the bytes are the same.",
)
@click.option(
    "--address",
    metavar="HOST:PORT",
    help="A Ray cluster that runs already (default RAY_ADDRESS; else one of --workers processes for this build).",
)
@click.option(
    "--follow-links",
    is_flag=True,
    help="Let symbolic links lead out of the sources' folders; never for data of strangers.",
)
@click.option("--drop-sources", is_flag=True, help="Remove the shards of sources in --out that RECIPE does not have.")
@click.option(
    "--dry-run", is_flag=True, help="Print the plan, what would be written and what would be refused, and stop."
)
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: print both as JSON.")
@click.pass_obj
@filled(BuildOptions)
def build(progress: Progress, options: BuildOptions) -> None:
    """Build WebDataset shards from the sources of RECIPE: a YAML file, a shipped one by name, or a source."""
    from mmrs.engines.processes import warm_up

    # Before anything else is loaded, so that this process and that of the workers load at the same time.
    if options.engine == "processes" and not options.dry_run:
        warm_up(options.workers, WORKER_MODULES)

    from converters.resolve import find_recipe, resolve
    from converters.wrong_folder import explain_build
    from mmrs.builder import run
    from mmrs.builder.summary import describe_findings, describe_plan, describe_result, plan_json
    from mmrs.engines.choose import choose_engine
    from mmrs.errors import UserError
    from mmrs.installation import shipped_recipes
    from mmrs.storage.open import open_place

    # Mistakes in these must not wait for the survey.
    if options.as_json and not options.dry_run:
        raise click.UsageError("--json prints a plan: give --dry-run too")
    engine = choose_engine(options.engine, options.workers, options.address)
    open_place(options.out)
    overrides = (*options.overrides, *["follow_links=true"] * options.follow_links)
    recipe = find_recipe(options.recipe, shipped_recipes("mmrs.builder"), overrides, options.options)
    found = resolve(recipe, {name: Path(folder) for name, folder in options.roots.items()})
    try:
        plan = run.plan_build(found.builds, recipe, options.workers, progress, skipped=(Path(options.out),))
    except UserError as error:
        raise explain_build(error, found.builds) from error
    plan = replace(plan, drops_sources=options.drop_sources)
    if not options.as_json:
        click.echo(describe_plan(plan, found.left_out))
    if options.dry_run:
        there = run.inspect_output(plan, options.out)
        click.echo(plan_json(plan, there, found.left_out) if options.as_json else describe_findings(there))
        # Whoever reads the plan is told what the build itself would say.
        run.check_output(plan, there, open_place(options.out))
        return

    def announce(findings) -> None:
        click.echo(describe_findings(findings))

    result = run.build(plan, recipe, options.out, options.workers, progress, engine, announce)
    click.echo(describe_result(result, options.out))
