"""A GPU node with torch and transformers alone can train."""

import subprocess
import sys
from pathlib import Path


def test_training_needs_neither_geometry_nor_converters():
    code = (
        "import sys, training.run.train;"
        "heavy = {'shapely', 'rasterio', 'polars', 'datasets', 'webdataset'};"
        "heavy |= {'converters', 'mmrs.geometry', 'matplotlib', 'tensorboard'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert run.stdout.strip() == "[]", run.stderr
