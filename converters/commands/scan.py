"""`mmrs scan`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmrs.commands.options import LocalFolder, converter_options, filled, json_option

if TYPE_CHECKING:
    from mmrs.progress import Progress


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """What `mmrs scan` was given, by the names of its options."""

    source: str
    root: Path
    as_json: bool
    compare_layouts: bool
    follow_links: bool
    guess: bool
    options: dict[str, str]


@click.command()
@click.argument("source")
@click.argument("root", type=LocalFolder("annotations are read where they lie"))
@json_option
@click.option("--compare-layouts", is_flag=True, help="Compare all layouts found, object by object (hit-uav).")
@click.option("--follow-links", is_flag=True, help="Let symbolic links lead out of ROOT; never for data of strangers.")
@click.option("--guess", is_flag=True, help="Of data of your own (generic): print a description that reads them.")
@converter_options
@click.pass_obj
@filled(ScanOptions)
def scan(progress: Progress, asked: ScanOptions) -> None:
    """Say what of SOURCE is under ROOT, what is missing, and how it compares with the published counts.

    Annotations are parsed, images are not opened, nothing is written. The layout may lie up to two folders below ROOT,
    or in parts; archives that are still packed are named with the command that unpacks them.
    """
    if asked.guess and asked.source != "generic":
        raise click.UsageError("--guess is for data of your own: the source is then generic")
    if asked.guess:
        from converters.own_data.guess.trial import guess_description

        shown = guess_description(asked.root).render(asked.root)
    elif asked.compare_layouts:
        from converters.scan import compare_source_layouts

        shown = compare_source_layouts(asked.source, asked.root, asked.as_json)
    else:
        from converters.scan import scan_source

        found = scan_source(asked.source, asked.root, asked.options, progress, asked.follow_links)
        shown = found.render(asked.as_json)
    click.echo(shown)
