"""`mmrs demo-web`."""

from __future__ import annotations

from pathlib import Path

import click

from mmrs.commands.options import FOLDER, LOCATION


@click.command("demo-web")
@click.argument("model", type=FOLDER)
@click.option("--shards", type=LOCATION, metavar="DIR_OR_URL", help="Data set to pick images from.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=7860, show_default=True)
@click.option("--allow-host", "allow_hosts", multiple=True, metavar="NAME", help="Name that browsers may call it by.")
@click.option("--dialect", default="", metavar="NAME", help="Of its boxes. Default: that of its training data.")
@click.option("--device", default="auto", show_default=True)
def demo_web(
    model: Path,
    shards: Path | str | None,
    host: str,
    port: int,
    allow_hosts: tuple[str, ...],
    dialect: str,
    device: str,
) -> None:
    """Ask MODEL about images in a browser: upload or pick one, press a task, drag a box, take the boxes home.

    Only this machine is answered by default; there is no password.
    """
    from mmrs.viewer.catalogue import load_catalogue
    from mmrs.viewer.serve import ListenOptions, listen
    from training.serving.load import dialect_of, open_engine
    from training.serving.web.app import DemoOptions, make_demo

    catalogue = None if shards is None else load_catalogue(shards)
    options = DemoOptions(model.resolve().name, dialect_of(model, dialect), catalogue, allow_hosts)
    engine = open_engine(model, device)
    try:
        listen(
            make_demo(engine, options),
            ListenOptions(host, port, allow_hosts),
            options.title,
            lambda words: click.echo(words, err=True),
        )
    finally:
        engine.close(0)
