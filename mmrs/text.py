"""Text for the terminal: plain tables, sizes, the word that was meant, and advice that several commands give.

A message ends with what the user can do next. A command in it is typed as it stands, and a test types it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

# By it a page of ours is known again, which may be replaced.
PAGE_MARK = '<meta name="generator" content="mmrs">'
# What a terminal obeys instead of showing it: control characters, marks that turn the direction of writing, separators
# of lines; and bytes of file names that are no UTF-8, which Python holds as lone surrogates.
_HIDDEN = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
_NOT_IN_TEXT = re.compile(f"[{_HIDDEN}]")
_NOT_IN_NAMES = re.compile(f"[{_HIDDEN}\t\n]")


# Names of strangers may have any length.
_MOST_IN_CELL = 400


def harmless(text: str) -> str:
    """A text for a terminal: what it would obey is written out by its number, tabs and ends of lines apart."""
    return text if text.isprintable() else _NOT_IN_TEXT.sub(_written_out, text)


def harmless_name(name: str) -> str:
    """As `harmless`, with tabs and ends of lines written out too."""
    return name if name.isprintable() else _NOT_IN_NAMES.sub(_written_out, name)


def _written_out(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


class HarmlessOutput:
    """A text stream to which only `harmless` text is written; all else is the stream's own."""

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        return int(self._stream.write(harmless(text)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]], align: str = "") -> str:
    """Columns padded to their widest cell; numbers to the right, text to the left.

    Args:
        align: one of ``<`` and ``>`` per column, where numbers come as text.
    """
    cells = [[harmless_name(shorten(str(cell), _MOST_IN_CELL)) for cell in row] for row in rows]
    widths = [max(len(line[column]) for line in [list(header), *cells]) for column in range(len(header))]
    columns = range(len(header))
    numeric = [all(isinstance(row[column], int | float) for row in rows) and bool(rows) for column in columns]
    right = [side == ">" for side in align] or numeric

    def line(parts: Sequence[str]) -> str:
        padded = [
            part.rjust(width) if to_right else part.ljust(width)
            for part, width, to_right in zip(parts, widths, right, strict=True)
        ]
        return "  ".join(padded).rstrip()

    return "\n".join([line(header), line(["-" * width for width in widths]), *(line(row) for row in cells)])


def shorten(text: str, letters: int) -> str:
    """At most so many letters of a text, the last ``...`` where some are left out."""
    return text if len(text) <= letters else text[: letters - 3] + "..."


def bytes_text(count: float) -> str:
    """``1536`` -> ``1.5 KiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def nearest(word: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for a misspelt word, or nothing where no known word is close."""
    names = list(known)
    import difflib

    matches = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.5)
    if not matches and len(word) > 2:
        matches = [name for name in names if word.lower() in name][:1]
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def see_verify(location: Path | str) -> str:
    """The command that says what is damaged in a data set."""
    return f"`mmrs verify {shlex.quote(str(location))}` says what is wrong."


def not_writable(place: object, error: object) -> str:
    """A folder that `--out` named and that cannot be written to."""
    return f"cannot write to {place}: {error}. Choose another folder with --out."


def not_empty(out: Path) -> str:
    """A folder that is to be made and is there already, with something in it."""
    return f"{out} is not empty. Choose another folder, or: {removal(out)}"


def removal(folder: Path) -> str:
    """The command that deletes a folder."""
    return f"rm -r {shlex.quote(str(folder))}"
