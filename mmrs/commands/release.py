"""`mmrs release`: the group of commands about the official MMRS-1M archive."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmrs.commands.lazy import LazyGroup
from mmrs.commands.options import FOLDER, LOCATION, json_option

if TYPE_CHECKING:
    from mmrs.progress import Progress

COMMANDS = {
    "audit": "mmrs.commands.release:audit",
    "compare": "mmrs.commands.release:compare",
    "export": "mmrs.commands.release:export",
    "ingest": "mmrs.commands.release:ingest",
}


@click.group(cls=LazyGroup, table=COMMANDS)
def release() -> None:
    """The official MMRS-1M archive: read it, audit it, write it back byte for byte, compare it with a rebuild."""


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", type=FOLDER, required=True, help="Folder for the ingested archive.")
@json_option
@click.pass_obj
def ingest(progress: Progress, source: Path, out: Path, as_json: bool) -> None:
    """Read the archive in SOURCE: a part, the folder of its parts data.tar.gz.0, .1, ..., or an unpacked folder.

    The parts are one stream and are never unpacked to disk. Every row keeps its exact bytes beside its parsed content.
    """
    from mmrs.release.ingest import ingest as run_ingest

    click.echo(run_ingest(source, out, progress).render(as_json))


@click.command()
@click.argument("ingested", type=FOLDER)
@click.option("--out", type=FOLDER, required=True, help="Folder for the JSON files.")
def export(ingested: Path, out: Path) -> None:
    """Write the JSON files of an ingested archive back, byte for byte."""
    from mmrs.release.export import export_release

    click.echo(export_release(ingested, out).render())


@click.command()
@click.argument("ingested", type=FOLDER)
@json_option
def audit(ingested: Path, as_json: bool) -> None:
    """Compare an ingested archive with the known counts and list its known defects. Exit code 1 where they differ."""
    from mmrs.release.audit import audit as run_audit

    found = run_audit(ingested)
    click.echo(found.render(as_json))
    if not found.agrees:
        sys.exit(1)


@click.command()
@click.argument("ingested", type=FOLDER)
@click.argument("dataset", metavar="DIR_OR_URL", type=LOCATION)
@json_option
def compare(ingested: Path, dataset: Path | str, as_json: bool) -> None:
    """Say per source how far a data set, a build of `mmrs build`, agrees with an ingested archive."""
    from mmrs.release.compare import compare_release

    click.echo(compare_release(ingested, dataset).render(as_json))
