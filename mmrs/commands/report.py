"""`mmrs report`."""

from __future__ import annotations

from pathlib import Path

import click

from mmrs.commands.options import FILE, LOCATION


@click.command()
@click.argument("location", metavar="DIR_OR_URL", type=LOCATION)
@click.option("--out", type=FILE, required=True, help="The HTML file.")
@click.option("--per-source", default=6, show_default=True, type=click.IntRange(1), help="Images of each source.")
@click.option("--seed", default=0, show_default=True, help="Which images.")
def report(location: Path | str, out: Path, per_source: int, seed: int) -> None:
    """Write one self-contained HTML page: images of each sensor with their boxes, counts, captions and questions."""
    from mmrs.report.page import write_report

    write_report(location, out, per_source=per_source, seed=seed)
    click.echo(f"written: {out}")
