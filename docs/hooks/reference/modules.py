"""Every module with the first line of its docstring, folder by folder."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
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


@cache
def first_line(path: Path) -> str:
    """First line of a module's docstring; empty where there is none."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def folder_tree() -> str:
    """Every folder of code with its line, as CONTRIBUTING.md has it: indented by depth, the lines in one column."""
    lines = []
    for package in PACKAGES:
        for folder in folders(ROOT / package):
            depth = len(folder.relative_to(ROOT).parts) - 1
            lines.append((f"{'  ' * depth}{folder.name}/", first_line(folder / "__init__.py")))
    width = max(len(name) for name, _ in lines) + 2
    return "".join(f"{name:<{width}}{words}\n" for name, words in lines)


def write_tree(page: Path) -> None:
    """Put the tree of today into the block of the page that is called ``tree``."""
    before, _, rest = page.read_text(encoding="utf-8").partition("```tree\n")
    page.write_text(f"{before}```tree\n{folder_tree()}```{rest.partition('```')[2]}", encoding="utf-8")


if __name__ == "__main__":
    write_tree(ROOT / "CONTRIBUTING.md")
