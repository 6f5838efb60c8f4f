"""`mmrs serve`."""

from __future__ import annotations

from pathlib import Path

import click

from mmrs.commands.options import FOLDER


@click.command()
@click.argument("model", type=FOLDER)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option("--name", default="", help="Of the model, as clients see it; by default that of its folder.")
@click.option("--dialect", default="", metavar="NAME", help="Of its boxes. Default: that of its training data.")
@click.option("--running", type=click.IntRange(min=1), default=16, show_default=True, help="Answers made at once.")
@click.option("--waiting", type=click.IntRange(min=1), default=64, show_default=True, help="Requests that may wait.")
@click.option("--device", default="auto", show_default=True)
def serve(model: Path, host: str, port: int, name: str, dialect: str, running: int, waiting: int, device: str) -> None:
    """Answer OpenAI-compatible requests with MODEL at http://HOST:PORT/v1.

    Clients must send the key that the environment variable MMRS_SERVE_KEY holds, where it is set. Images are data:
    addresses; nothing is fetched.
    """
    import os

    import uvicorn

    from training.serving.api.app import ApiOptions, make_app
    from training.serving.load import dialect_of, open_engine

    named = dialect_of(model, dialect)
    options = ApiOptions(name or model.resolve().name, named, os.environ.get("MMRS_SERVE_KEY", ""))
    if host not in ("127.0.0.1", "localhost", "::1") and not options.key:
        click.echo(f"anybody who reaches {host} may ask; set MMRS_SERVE_KEY to a secret", err=True)
    engine = open_engine(model, device, "auto", running, waiting)
    click.echo(f"{options.model_id} at http://{host}:{port}/v1", err=True)
    uvicorn.run(make_app(engine, options), host=host, port=port, log_level="warning", timeout_graceful_shutdown=30)
