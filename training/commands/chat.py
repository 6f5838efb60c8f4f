"""`mmrs chat`."""

from __future__ import annotations

from pathlib import Path

import click

from mmrs.commands.options import FILE, FOLDER


@click.command()
@click.argument("model", type=FOLDER)
@click.argument("image", type=FILE, required=False)
@click.option("--sensor", type=click.Choice(["optical", "sar", "infrared"]), default="optical", show_default=True)
@click.option("--dialect", default="", metavar="NAME", help="Of its boxes. Default: that of its training data.")
@click.option("--max-tokens", type=click.IntRange(min=1), default=512, show_default=True, help="Of one answer.")
@click.option("--device", default="auto", show_default=True)
def chat(model: Path, image: Path | None, sensor: str, dialect: str, max_tokens: int, device: str) -> None:
    """Talk with MODEL, such as RUN/model, about an IMAGE. `/help` lists what it knows besides questions."""
    import sys

    from mmrs.text import harmless
    from training.serving.chat import ChatSession, run_command
    from training.serving.engine import Sampling
    from training.serving.load import dialect_of, open_engine

    named = dialect_of(model, dialect)
    engine = open_engine(model, device)
    try:
        session = ChatSession(engine, named, sensor, Sampling(max_new_tokens=max_tokens))
        if image is not None:
            click.echo(session.look(image))

        def say(text: str) -> None:
            # Line breaks are the answer's own; all else that a terminal would obey is written out.
            click.echo("\n".join(harmless(line) for line in text.split("\n")), nl=False)

        lines = sys.stdin
        while True:
            if lines.isatty():
                click.echo("> ", nl=False)
            line = lines.readline()
            if not line or not run_command(session, line, say):
                return
    finally:
        engine.close(0)
