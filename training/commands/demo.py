"""`mmrs demo`: the commands of the project one after another, each run by the very words that are printed.

Nothing of the other packages is imported: a step is found by its name in the group that the demo was called from.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import click

from mmrs.commands.options import FOLDER, workers_option
from mmrs.errors import UserError
from mmrs.storage.atomic import write_atomic

DETECTION = {
    "images_per_split": "{train: 3000, val: 50, test: 200}",
    "objects_per_image": "[1, 1]",
    "object_sides": "[140, 280]",
    "dont_care": "false",
    "equal_classes": "true",
    "layouts": "[rotate_json]",
}
CLASSIFICATION = {"images_per_class": "60"}
_NEEDED = ("torch", "transformers", "tokenizers", "safetensors", "tensorboard", "jinja2")
_BEGUN = b"a sample of `mmrs demo` is being written to the folder of this name\n"


@click.command()
@click.option(
    "--out", type=FOLDER, default=Path("demo-output"), show_default=True, help="Folder for everything it makes."
)
@workers_option
@click.pass_context
def demo(ctx: click.Context, out: Path, workers: int) -> None:
    """The whole system in one go on generated scenes: sample, scan, build, verify, train (tiny, CPU), eval.

    Run again after an interruption, it continues: finished shards, checkpoints and samples are kept.
    """
    for module in _NEEDED:
        # Before minutes of work that would end at the first step that trains.
        if find_spec(module) is None:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
    raw, shards, run, scores = out / "raw", out / "shards", out / "run", out / "scores"
    _sample(ctx, "hit-uav", raw / "hit-uav", DETECTION)
    _sample(ctx, "ucmerced", raw / "ucmerced", CLASSIFICATION)
    _step(ctx, "scan", "hit-uav", raw / "hit-uav")
    _step(ctx, "build", "demo", "--set", f"data_root={raw}", "--out", shards, "--workers", workers)
    _step(ctx, "verify", shards, "--workers", workers)
    _step(ctx, "train", "demo", "--set", f"data.folders={shards}", "--set", f"out={run}")
    _step(ctx, "eval", run / "model", shards, "--out", scores)
    click.echo(f"\nshards        {shards}\nmodel         {run / 'model'}\nrun           {run}")
    click.echo(f"scores        {scores / 'scores.json'}\npredictions   {scores / 'predictions.png'}")


def _sample(ctx: click.Context, source: str, out: Path, options: Mapping[str, str]) -> None:
    """Write a sample once: a marker, written last, tells a whole one from an interrupted one.

    Another one, written first, tells an interrupted one from a folder of somebody else.
    """
    begun, finished = out.with_suffix(".begun"), out.with_suffix(".finished")
    if finished.exists():
        return
    if out.is_symlink() or (out.exists() and not _is_begun(begun) and any(out.iterdir())):
        raise UserError(f"{out} is there and no sample of an earlier `mmrs demo`; choose another --out, or move it.")
    write_atomic(begun, _BEGUN)
    if out.exists():
        shutil.rmtree(out)
    settings = [word for name, value in options.items() for word in ("--set", f"{name}={value}")]
    _step(ctx, "sample", source, *settings, "--out", out)
    write_atomic(finished, b"")


def _is_begun(marker: Path) -> bool:
    return marker.is_file() and marker.read_bytes() == _BEGUN


def _step(ctx: click.Context, name: str, *arguments: object) -> None:
    """Show how to type a command, and run it."""
    words = [str(argument) for argument in arguments]
    click.echo(f"\n$ {shlex.join(['mmrs', name, *words])}")
    root = ctx.find_root()
    group = root.command
    if not isinstance(group, click.Group) or (command := group.get_command(root, name)) is None:
        raise LookupError(f"the demo runs `mmrs {name}`, which {root.command_path} has not")
    with command.make_context(name, words, parent=root) as step:
        command.invoke(step)
