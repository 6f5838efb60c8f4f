"""The project's modules as parsed text: who imports whom, and what each defines. Nothing of it is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("mmrs", "converters", "training")


@dataclass(frozen=True)
class Module:
    """One file by its dotted name; a package's `__init__` has the package's name."""

    name: str
    path: Path

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text())

    @property
    def folder(self) -> str:
        return self.path.parent.relative_to(ROOT).as_posix()

    def imports(self) -> Iterator[str]:
        """Dotted names, those inside of functions and of `if TYPE_CHECKING` included; names from a module follow it."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

    def public_names(self) -> set[str]:
        """Classes, functions and constants of the module's top level; type variables are nobody's names."""
        names: set[str] = set()
        for node in self.tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Assign | ast.AnnAssign) and not _is_type_variable(node.value):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names |= {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
        return {name for name in names if not name.startswith("_")}


def _is_type_variable(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "TypeVar"


def all_modules() -> dict[str, Module]:
    """Every module of the packages, and the command group."""
    paths = [ROOT / "cli.py", *(path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return {name: Module(name, path) for name, path in zip(names, paths, strict=True)}


def import_graph(modules: Mapping[str, Module]) -> dict[str, set[str]]:
    """Each module with those of ours that it imports."""
    return {
        name: {target for found in module.imports() if (target := _module_of(found, modules))} - {name}
        for name, module in modules.items()
    }


def _module_of(name: str, modules: Mapping[str, Module]) -> str | None:
    """The module that an imported name is or lies in, None for those of others."""
    while name not in modules and "." in name:
        name = name.rpartition(".")[0]
    return name if name in modules else None


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The groups of nodes that reach each other, each sorted."""
    reach = {node: _reachable(graph, node) for node in graph}
    groups = {tuple(sorted(other for other in reach[node] if node in reach[other])) for node in graph}
    return sorted(list(group) for group in groups if len(group) > 1)


def _reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for target in graph.get(waiting.pop(), ()):
            if target not in seen:
                seen.add(target)
                waiting.append(target)
    return seen


def between_parts(folder: str, graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The graph between what lies in a folder (dotted name): its modules, its subfolders, and `__init__` itself."""
    parts: dict[str, set[str]] = {}
    for name, targets in graph.items():
        if (part := _part_of(folder, name)) is not None:
            found = {other for target in targets if (other := _part_of(folder, target)) is not None}
            parts.setdefault(part, set()).update(found - {part})
    return parts


def _part_of(folder: str, name: str) -> str | None:
    if name == folder:
        return "__init__"
    return name.removeprefix(f"{folder}.").partition(".")[0] if name.startswith(f"{folder}.") else None
