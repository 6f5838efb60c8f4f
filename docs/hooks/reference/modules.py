"""Every module with the first line of its docstring, folder by folder."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from docs.hooks.reference.markdown import cell, table

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("mmrs", "converters", "training")


def modules_page() -> str:
    """One table a folder; a folder's own line stands above its table."""
    parts = ["# Modules\n", "Every module with the first line of its docstring. `cli.py` is the command line.\n"]
    for package in PACKAGES:
        for folder in folders(ROOT / package):
            name = folder.relative_to(ROOT).as_posix()
            rows = [(path.name, first_line(path)) for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
            parts.append(f"{'##' if folder.name == package else '###'} {name}/\n")
            parts.append(cell(first_line(folder / "__init__.py")) + "\n")
            if rows:
                parts.append(table(("module", "what it holds"), rows))
    return "\n".join(parts)


def folders(top: Path) -> Iterator[Path]:
    """`top` and every package below it, sorted by name."""
    yield top
    for folder in sorted(path for path in top.iterdir() if (path / "__init__.py").is_file()):
        yield from folders(folder)


def first_line(path: Path) -> str:
    """First line of a module's docstring; empty where there is none."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
