"""One strict base for all that is read from files, and no import at its price that the smallest command would pay."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from mmrs.config import StrictModel, as_list

ROOT = Path(__file__).parents[2]


class _Tile(StrictModel):
    overlap: float


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), "nan"])
def test_no_number_that_is_none(value):
    with pytest.raises(ValidationError, match="finite number"):
        _Tile(overlap=value)


def test_frozen_and_without_unknown_keys():
    with pytest.raises(ValidationError, match="overlapp"):
        _Tile(overlap=1, overlapp=2)
    with pytest.raises(ValidationError, match="frozen"):
        _Tile(overlap=1).overlap = 2


@pytest.mark.parametrize(("value", "expected"), [("a", ["a"]), (Path("a"), [Path("a")]), (("a",), ("a",)), (1, 1)])
def test_one_name_or_path_is_a_list_of_it(value, expected):
    assert as_list(value) == expected


def test_every_model_is_strict():
    """No other class derives from pydantic's own base, so that none forgets a rule."""
    loose = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for package in ("mmrs", "converters", "training")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id == "BaseModel" for base in node.bases)
    ]
    assert loose == ["mmrs/config.py: StrictModel"]


def test_the_record_needs_no_yaml():
    """Workers and readers import the record at once; a YAML parser would be a tenth of its time."""
    code = "import sys, mmrs.record; print(sorted({'yaml', 'difflib', 'numpy', 'pyarrow'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert shown == "[]\n"
