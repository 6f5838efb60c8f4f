"""Progress of long work: bars on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mmrs.text import harmless

_SECONDS_BETWEEN_LINES = 10.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Reports on standard error, so that standard output stays for results."""

    quiet: bool = False

    def line(self, text: str) -> None:
        """One line of what the work has come to; it stays above a bar, where there is one."""
        if not self.quiet:
            print(harmless(text), file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """One line about something out of the ordinary that the work goes on after."""
        self.line(f"note: {text}")

    @contextmanager
    def stage(self, title: str, total: int, unit: str = "") -> Iterator[Callable[[int], None]]:
        """A stage of `total` steps; call the yielded function with the number of steps just done."""
        if self.quiet:
            yield lambda steps: None
        elif sys.stderr.isatty():
            yield from _bar(title, total)
        else:
            yield from _lines(title, total, unit)


def _bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress
    from rich.text import Text

    class RateColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.1f}/s" if task.speed else "")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(title, total=total)
        yield lambda steps: bars.advance(task, steps)


def _lines(title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    started = said = time.monotonic()
    done = 0

    def advance(steps: int) -> None:
        nonlocal done, said
        done += steps
        now = time.monotonic()
        if now - said >= _SECONDS_BETWEEN_LINES:
            said = now
            print(f"{title}: {_so_far(done, total, unit, now - started)}", file=sys.stderr, flush=True)

    yield advance
    what = f"{done} {unit}".rstrip()
    print(f"{title}: {what} in {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)


def _so_far(done: int, total: int, unit: str, seconds: float) -> str:
    """``120 of 400 images, 2.4 a second, 1 min 57 s left``."""
    what = f"{done} of {total} {unit}".rstrip()
    rate = done / seconds if seconds else 0.0
    if not rate:
        return what
    minutes, rest = divmod(round(max(total - done, 0) / rate), 60)
    left = f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{what}, {rate:.{1 if rate < 100 else 0}f} a second, {left} left"
