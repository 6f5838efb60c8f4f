"""Recipes that come with a package, as data of that package: they are found wherever it is installed."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def shipped_recipes(package: str) -> dict[str, Path]:
    """Name -> file of each recipe in the folder ``recipes`` of a package; installers never leave a package zipped."""
    folder = Path(str(files(package) / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
