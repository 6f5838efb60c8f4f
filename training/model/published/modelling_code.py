"""The code of a model, written beside its weights: whoever loads them needs transformers and nothing of this project.

Every module that the model and its processor import, from this project alone, becomes one file of a flat folder.
Nothing in it is changed but its imports, which become relative: `training.model.vision.dinov2` is ``vision_dinov2.py``.
So what is saved is what runs here. All classes are found through one file, ``earthgpt.py``: transformers copies what a
file imports into a folder of its own for each file that it is asked for, and classes of two copies are not the same.

A loaded copy of the code writes itself.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

ENTRY, REGISTERED = "earthgpt", "registered_parts"
AUTO_CLASSES = {
    "AutoConfig": "EarthGPTConfig",
    "AutoModel": "EarthGPTModel",
    "AutoModelForImageTextToText": "EarthGPTForConditionalGeneration",
    "AutoProcessor": "EarthGPTProcessor",
    "AutoImageProcessor": "EarthGPTImageProcessor",
}
AUTO_MAP = {auto_class: f"{ENTRY}.{name}" for auto_class, name in AUTO_CLASSES.items()}
# The names that other projects give to these.
_USUAL_NAMES = {
    "training.model.configuration": "configuration_earthgpt",
    "training.model.inputs.image_processor": "image_processing_earthgpt",
    "training.model.modeling.generation": "modeling_earthgpt",
    "training.model.modeling.model": "modeling_earthgpt_base",
    "training.model.processing": "processing_earthgpt",
}
_ROOTS = ("training", "mmrs")
_HOME = "training.model.published.modelling_code"


def auto_map(*auto_classes: str) -> dict[str, dict[str, str]]:
    """What a saved configuration says of where these classes lie."""
    return {"auto_map": {name: AUTO_MAP[name] for name in auto_classes}}


def write_code(folder: Path, registered: Iterable[str] | None = None) -> None:
    """Write all files that `AUTO_MAP` needs.

    Args:
        folder: exists.
        registered: modules, of whatever project, whose import makes parts of the model known beside those that are
            always known; None where that is not known, which leaves what stands there.

    Raises:
        ValueError: the source of a module is not to be had.
    """
    if __name__ != _HOME:
        for file in sorted(Path(__file__).parent.glob("*.py")):
            if file.name != "__init__.py":
                (folder / file.name).write_bytes(file.read_bytes())
        return
    for name, source in code_files(tuple(registered or ())).items():
        if name != f"{REGISTERED}.py" or registered is not None or not (folder / name).exists():
            (folder / name).write_text(source, encoding="utf-8")


@cache
def code_files(registered: tuple[str, ...] = ()) -> Mapping[str, str]:
    """Name and content of each file."""
    known = dict.fromkeys(_USUAL_NAMES)
    sources: dict[str, str] = {}
    waiting = [*known, *registered]
    while waiting:
        module = waiting.pop()
        if flat_name(module) + ".py" in sources:
            continue
        source, needed = flattened(module)
        sources[f"{flat_name(module)}.py"] = source
        waiting += needed
    outside = [module for module in registered if not _is_ours(module)]
    sources[f"{REGISTERED}.py"] = _stated("Parts of the model that another project made known.") + "".join(
        f"from .{flat_name(module)} import __name__ as _\n" for module in outside
    )
    sources[f"{ENTRY}.py"] = _entry()
    return sources


def flat_name(module: str) -> str:
    """The name, without ending, of the file that a module becomes."""
    if module in _USUAL_NAMES:
        return _USUAL_NAMES[module]
    if not _is_ours(module):
        return module.rpartition(".")[2]
    return module.removeprefix("training.model.").replace(".", "_")


def flattened(module: str) -> tuple[str, list[str]]:
    """The source of a module with relative imports, and the modules of this project that it imports.

    What is imported for types alone is left out.

    Raises:
        ValueError: its source is not to be had, or it imports a module where names of it are wanted.
    """
    source = _source(module)
    lines = source.splitlines(keepends=True)
    needed: list[str] = []
    # From the end, so that the places of earlier statements stay.
    for node in sorted(_to_replace(ast.parse(source), module), key=lambda node: -node.lineno):
        written = ""
        if isinstance(node, ast.ImportFrom):
            statements, modules = _relative(node, module)
            needed += modules
            written = "".join(f"{' ' * node.col_offset}{statement}\n" for statement in statements)
        lines[node.lineno - 1 : node.end_lineno] = [written]
    head = f"# {module} of mmrs, https://pypi.org/project/mmrs, Apache-2.0. Written by save_pretrained.\n"
    return head + "".join(lines), needed


def _to_replace(tree: ast.Module, module: str) -> Iterator[ast.ImportFrom | ast.If]:
    guarded = [node for node in ast.walk(tree) if isinstance(node, ast.If) and _is_for_types(node)]
    yield from guarded
    skipped = {inner for node in guarded for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import) and any(_is_ours(name.name) for name in node.names):
            raise ValueError(f"{module} imports {node.names[0].name} as a module; import the names that it needs")
        if isinstance(node, ast.ImportFrom) and _is_ours(node.module or ""):
            yield node


def _relative(node: ast.ImportFrom, module: str) -> tuple[list[str], list[str]]:
    """The statements in the place of one, and the modules that they need.

    Packages whose import makes parts known come first, as Python runs them first.
    """
    name = str(node.module)
    if name == module:
        # A package that imports its modules for what they make known.
        modules = [f"{name}.{part.name}" for part in node.names]
        return [f"from .{flat_name(part)} import __name__ as {part.rpartition('.')[2]}" for part in modules], modules
    for imported in node.names:
        if _is_package(name) and importlib.util.find_spec(f"{name}.{imported.name}") is not None:
            raise ValueError(f"{module} imports {name}.{imported.name} as a module; import the names that it needs")
    parents = [name.rsplit(".", depth)[0] for depth in range(name.count("."), 0, -1)]
    packages = [each for each in parents if not f"{module}.".startswith(f"{each}.") and _registers(each)]
    names = ", ".join(f"{part.name} as {part.asname}" if part.asname else part.name for part in node.names)
    statements = [f"from .{flat_name(package)} import __name__ as _" for package in packages]
    return [*statements, f"from .{flat_name(name)} import {names}"], [*packages, name]


@cache
def _registers(package: str) -> bool:
    # The package of all models registers with transformers what is here the file's own business.
    return package != "training.model" and any(
        isinstance(node, ast.ImportFrom) and _is_ours(node.module or "") for node in ast.parse(_source(package)).body
    )


def _is_for_types(node: ast.If) -> bool:
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in _ROOTS


@cache
def _is_package(module: str) -> bool:
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.submodule_search_locations is not None


@cache
def _source(module: str) -> str:
    spec = importlib.util.find_spec(module)
    loader: Any = spec.loader if spec else None
    source = loader.get_source(module) if hasattr(loader, "get_source") else None
    if source is None:
        raise ValueError(f"the source of {module} is not to be had, and the model cannot be loaded without it")
    return source


def _entry() -> str:
    lines = [f"from .{REGISTERED} import __name__ as _\n"]
    for module, name in _USUAL_NAMES.items():
        classes = sorted(each for each in AUTO_CLASSES.values() if f"class {each}(" in _source(module))
        lines.append(f"from .{name} import {', '.join(classes)}\n")
    names = "".join(f'    "{name}",\n' for name in sorted(AUTO_CLASSES.values()))
    return _stated("All classes of EarthGPT.") + "".join(lines) + f"\n__all__ = [\n{names}]\n"


def _stated(what: str) -> str:
    return f'"""{what} Written by save_pretrained of mmrs, Apache-2.0."""\n\n'
