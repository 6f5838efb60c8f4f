"""Markdown from plain values, in the few forms that the reference is made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_SPACE = re.compile(r"\s+")
_CODE = re.compile(r"(`+[^`]+`+)")


def cell(words: str) -> str:
    """Text as the cell of a table: on one line, with bars escaped, and angle brackets outside of code too."""
    parts = _CODE.split(_SPACE.sub(" ", words).strip().replace("``", "`").replace("|", "\\|"))
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in parts)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; the first column is set as code."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join([f"`{row[0]}`", *(cell(words) for words in row[1:])]) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def prose(docstring: str) -> str:
    """A docstring as paragraphs: single back quotes are code as they are, ``\\b`` of click is dropped."""
    lines = [line for line in docstring.replace("``", "`").splitlines() if line.strip() != "\b"]
    return "\n".join(line.strip() for line in lines).strip() + "\n"


def sentence(words: str) -> str:
    """First letter upper, a full stop at the end."""
    words = _SPACE.sub(" ", words).strip()
    if not words:
        return ""
    return words[0].upper() + words[1:] + ("" if words.endswith((".", "?", ":")) else ".")
