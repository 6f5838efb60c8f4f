"""Imports inside training.model go down its floors, never up and never in a circle."""

import ast
from pathlib import Path

import training.model

FLOORS = (
    {"operations", "random_weights", "masks", "folder", "tokenizer", "published"},
    {"vision", "language"},
    {"inputs"},
    {"configuration", "processing"},
    {"fusion", "origin"},
    {"modeling"},
    {"tuning", "accounting", "presets", "constrained"},
    {"assembly", "export"},
)
ROOT = Path(training.model.__file__).parent


def imported(path):
    """Parts of training.model that a file imports, functions and type checks included."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            parts = name.split(".")
            if parts[:2] == ["training", "model"]:
                assert len(parts) > 2, f"{path} imports the whole package; import the module that it needs"
                yield parts[2]


def test_every_part_has_a_floor():
    parts = {path.stem if path.suffix else path.name for path in ROOT.iterdir() if path.name[:2] != "__"}
    assert parts == set().union(*FLOORS)


def test_imports_go_down():
    floor_of = {part: number for number, floor in enumerate(FLOORS) for part in floor}
    for path in sorted(ROOT.rglob("*.py")):
        part = path.relative_to(ROOT).with_suffix("").parts[0]
        if part == "__init__":
            continue
        for other in imported(path):
            assert other == part or floor_of[other] < floor_of[part], f"{path} imports {other}, which is not below"
