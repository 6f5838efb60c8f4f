"""A GPU node with torch and transformers alone can train, and no folder of training imports from a floor above it."""

import ast
import subprocess
import sys
from pathlib import Path

TRAINING = Path(__file__).parents[2] / "training"
FLOORS = ["config", "model", "data", "stages", "step", "report", "run", "commands"]
# Beside the floors: they work on models and data, whoever made them.
BESIDE = {"evaluation": {"config", "model", "data"}, "serving": {"config", "model", "data", "evaluation"}}


def test_training_needs_neither_geometry_nor_converters():
    code = (
        "import sys, training.run.train;"
        "heavy = {'shapely', 'rasterio', 'polars', 'datasets', 'webdataset'};"
        "heavy |= {'converters', 'mmrs.geometry', 'matplotlib', 'tensorboard'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=TRAINING.parent)
    assert run.stdout.strip() == "[]", run.stderr


def test_no_folder_imports_from_a_floor_above():
    wrong = []
    for path in sorted(TRAINING.rglob("*.py")):
        folder = path.relative_to(TRAINING).parts[0]
        if folder == "__init__.py":
            continue
        below = BESIDE.get(folder) or {*FLOORS[: FLOORS.index(folder)], *(BESIDE if folder in FLOORS[-2:] else ())}
        for module in imports(path):
            if module.startswith("training.") and module.split(".")[1] not in {folder, *below}:
                wrong.append(f"{path.relative_to(TRAINING)} imports {module}")
    assert wrong == []


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
