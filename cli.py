"""The command line: a table of commands, which load when they are asked for, and what their errors become.

Each command lives beside what it runs, in a folder ``commands``: it parses, calls one function and prints. An import
at the top of such a module costs every `mmrs --help`, so what a command runs is imported inside its function.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from functools import partial

import click

from mmrs import __version__
from mmrs.commands.lazy import LazyGroup

# Libraries in other languages wrap the system's error.
_FULL_DISK = re.compile(r"No space left on device|os error 28|StorageFull|code: 28\b")
COMMANDS = {
    "build": "converters.commands.build:build",
    "chat": "training.commands.chat:chat",
    "compare": "training.commands.evaluate:compare",
    "curate": "mmrs.commands.curate:curate",
    "demo": "training.commands.demo:demo",
    "demo-web": "training.commands.demo_web:demo_web",
    "eval": "training.commands.evaluate:evaluate",
    "export": "mmrs.commands.export:export",
    "export-checkpoint": "training.commands.export:export_checkpoint",
    "export-model": "training.commands.export:export_model",
    "fetch": "converters.commands.fetch:fetch",
    "init": "training.commands.init:init",
    "inspect": "training.commands.inspect:inspect_model",
    "merge": "mmrs.commands.merge:merge",
    "predict": "training.commands.predict:predict",
    "push": "converters.commands.push:push",
    "release": "mmrs.commands.release:release",
    "report": "mmrs.commands.report:report",
    "sample": "converters.commands.sample:sample",
    "scan": "converters.commands.scan:scan",
    "score": "training.commands.evaluate:score",
    "serve": "training.commands.serve:serve",
    "sources": "converters.commands.sources:sources",
    "split": "mmrs.commands.split:split",
    "stats": "mmrs.commands.stats:stats",
    "train": "training.commands.train:train",
    "verify": "mmrs.commands.verify:verify",
    "view": "training.commands.view:view",
}

# Of a message; what it quotes may have any length.
MOST_LETTERS = 6000


class Commands(LazyGroup):
    """The commands, with every error as one readable message and an exit code: 2 for mistakes, 1 for failures."""

    def make_context(self, *arguments, **options) -> click.Context:
        try:
            return super().make_context(*arguments, **options)
        except click.ClickException as error:
            error.message = _for_terminal(error.message)  # type: ignore[misc]
            raise

    def invoke(self, ctx: click.Context):
        try:
            return super().invoke(ctx)
        except (click.Abort, KeyboardInterrupt):
            click.echo("interrupted; the same command goes on from what is finished", err=True)
            sys.exit(130)
        except click.exceptions.Exit:
            raise
        except click.ClickException as error:
            # click repeats what was typed.
            error.message = _for_terminal(error.message)  # type: ignore[misc]
            raise
        except Exception as error:
            if ctx.params.get("debug"):
                import traceback

                traceback.print_exception(error)
            message, exit_code = told(error)
            click.echo(f"error: {_for_terminal(message)}", err=True)
            sys.exit(exit_code)


def _for_terminal(message: str) -> str:
    from mmrs.storage.urls import redacted
    from mmrs.text import harmless, shorten

    # Of what a stranger's file made a message of, more than is shown is looked at: a secret may lie across the cut.
    return harmless(shorten(redacted(message[: 4 * MOST_LETTERS]), MOST_LETTERS))


def told(error: Exception) -> tuple[str, int]:
    """What a person reads of an error, and the exit code."""
    from mmrs.errors import RunFailure, UserError
    from mmrs.installation import describe_missing

    if isinstance(error, UserError):
        return str(error), 2
    if isinstance(error, RunFailure):
        return str(error), 1
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{error.filename}: " if error.filename is not None else ""
        reason = error.strerror or type(error).__name__
        return f"{where}{reason}. Check the path, its permissions and the free space.", 1
    if _FULL_DISK.search(str(error)):
        return f"the disk is full ({type(error).__name__}: {error}). Make room, or write to another disk.", 1
    if isinstance(error, ModuleNotFoundError) and (missing := describe_missing(error)):
        return missing, 2
    if isinstance(error, MemoryError):
        return "memory ran out. Run the same command again with fewer --workers or on a larger machine.", 1
    if isinstance(error, RecursionError):
        return "values of an input are nested too deeply; `mmrs --debug ...` shows where it was read.", 1
    fault = f"{type(error).__name__}: {error}"
    return f"{fault}\nThis is a fault of the program; `mmrs --debug ...` shows where.", 1


@click.group(
    cls=Commands,
    table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error too.")
@click.option("--quiet", is_flag=True, help="No progress on standard error.")
@click.version_option(__version__, prog_name="mmrs")
@click.pass_context
def main(ctx: click.Context, debug: bool, quiet: bool) -> None:
    """Remote-sensing data sets -> instruction shards -> a streaming fine-tune of EarthGPT -> scores.

    Exit codes: 0 done, 1 failure, 2 mistake in the command or its input, 75 training stopped by a signal after a
    checkpoint (run it again), 130 interrupted, 143 ended by SIGTERM.
    """
    from mmrs.progress import Progress
    from mmrs.text import HarmlessOutput

    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    # Names that are printed may be of strangers.
    ctx.call_on_close(partial(setattr, sys, "stdout", sys.stdout))
    sys.stdout = HarmlessOutput(sys.stdout)
    ctx.obj = Progress(quiet=quiet)
    # Read by OpenMP when torch is loaded, of which it is a part. While another program has the processor that a thread
    # waits for, spinning wastes this one; benchmarks/README.md has what that costs.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


if __name__ == "__main__":
    main()
