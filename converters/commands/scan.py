"""`mmrs scan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmrs.commands.options import LocalFolder, converter_options, json_option

if TYPE_CHECKING:
    from mmrs.progress import Progress


@click.command()
@click.argument("source")
@click.argument("root", type=LocalFolder("annotations are read where they lie"))
@json_option
@click.option("--compare-layouts", is_flag=True, help="Compare all layouts found, object by object (hit-uav).")
@click.option("--follow-links", is_flag=True, help="Let symbolic links lead out of ROOT; never for data of strangers.")
@converter_options
@click.pass_obj
def scan(
    progress: Progress,
    source: str,
    root: Path,
    as_json: bool,
    compare_layouts: bool,
    follow_links: bool,
    options: dict[str, str],
) -> None:
    """Say what of SOURCE is under ROOT, what is missing, and how it compares with the published counts.

    Annotations are parsed, images are not opened, nothing is written. The layout may lie up to two folders below ROOT,
    or in parts; archives that are still packed are named with the command that unpacks them.
    """
    from converters.scan import compare_source_layouts, scan_source

    if compare_layouts:
        click.echo(compare_source_layouts(source, root, as_json))
    else:
        click.echo(scan_source(source, root, options, progress, follow_links).render(as_json))
