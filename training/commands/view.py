"""`mmrs view`."""

from __future__ import annotations

from pathlib import Path

import click

from mmrs.commands.options import FILE, LOCATION


@click.command()
@click.argument("location", metavar="DIR_OR_URL", type=LOCATION)
@click.option("--answers", type=FILE, help="An answers.jsonl about it: shown with scores, predictions over truth.")
@click.option(
    "--dialect", default="", metavar="NAME", help="How boxes are written in the answers. Default: as in the data."
)
@click.option(
    "--exclude", type=FILE, default=Path("exclude.jsonl"), show_default=True, help="List that the page writes."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True)
@click.option(
    "--allow-host", "allow_hosts", multiple=True, metavar="NAME", help="Name that browsers may call it by; repeatable."
)
def view(
    location: Path | str,
    answers: Path | None,
    dialect: str,
    exclude: Path,
    host: str,
    port: int,
    allow_hosts: tuple[str, ...],
) -> None:
    """Look at a data set in a browser: filter, search, zoom, compare copies, pick what the next build leaves out.

    Only this machine is answered by default. At a URL the shards that are looked at are fetched whole, into the cache.
    """
    import threading

    from mmrs.viewer.app import ViewedData
    from mmrs.viewer.serve import ListenOptions, load_first_viewed, load_viewed, serve_viewer

    def load(ended: threading.Event) -> ViewedData:
        shown = None
        if answers is not None:
            from training.evaluation.page.shown_answers import shown_answers

            shown = shown_answers(location, answers, dialect)
        return load_viewed(location, exclude, shown, ended)

    serve_viewer(
        load,
        ListenOptions(host, port, allow_hosts),
        lambda words: click.echo(words, err=True),
        lambda: load_first_viewed(location, exclude),
    )
