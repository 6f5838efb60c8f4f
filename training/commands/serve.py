"""`mmrs serve`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from mmrs.commands.options import FOLDER, filled


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What `mmrs serve` was given, by the names of its options."""

    model: Path
    host: str
    port: int
    name: str
    dialect: str
    running: int
    waiting: int
    device: str
    url_hosts: tuple[str, ...]
    allow_private_urls: bool


@click.command()
@click.argument("model", type=FOLDER)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option("--name", default="", help="Of the model, as clients see it; by default that of its folder.")
@click.option("--dialect", default="", metavar="NAME", help="Of its boxes. Default: that of its training data.")
@click.option("--running", type=click.IntRange(min=1), default=16, show_default=True, help="Answers made at once.")
@click.option("--waiting", type=click.IntRange(min=1), default=64, show_default=True, help="Requests that may wait.")
@click.option("--device", default="auto", show_default=True)
@click.option(
    "--allow-url-host",
    "url_hosts",
    multiple=True,
    metavar="HOST",
    help="Take https addresses of images on this host, or HOST:PORT; repeatable.",
)
@click.option("--allow-private-urls", is_flag=True, help="Those hosts may lie in a private network, or here.")
@filled(ServeOptions)
def serve(options: ServeOptions) -> None:
    """Answer OpenAI-compatible requests with MODEL at http://HOST:PORT/v1.

    Clients must send the key that the environment variable MMRS_SERVE_KEY holds, where it is set. Images are data:
    addresses; nothing is fetched but from hosts that --allow-url-host names. SIGTERM or Ctrl-C ends it once what was
    taken is answered, after some 25 s at most; who asks meanwhile is told 503.
    """
    import os

    from mmrs.viewer.serve import ListenOptions, listen
    from training.serving.api.app import ApiOptions, make_app
    from training.serving.api.draining import DrainingServer
    from training.serving.api.remote_images import RemoteImages, allowed_hosts
    from training.serving.load import dialect_of, open_engine

    def say(words: str) -> None:
        click.echo(words, err=True)

    hosts = allowed_hosts(options.url_hosts)
    told = ApiOptions(
        options.name or options.model.resolve().name,
        dialect_of(options.model, options.dialect),
        os.environ.get("MMRS_SERVE_KEY", ""),
        remote_images=RemoteImages(hosts, options.allow_private_urls) if hosts else None,
    )
    engine = open_engine(options.model, options.device, "auto", options.running, options.waiting)
    try:
        listen(
            make_app(engine, told),
            ListenOptions(options.host, options.port, has_key=bool(told.key)),
            told.model_id,
            say,
            made=lambda config: DrainingServer(config, engine, say),
            path="v1",
        )
    finally:
        engine.close(0)
