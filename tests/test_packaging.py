"""What a wheel holds and asks for: its top-level names, its data, its dependencies, and where the command starts."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import cli
import mmrs
from mmrs import installation

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = ("cli", "converters", "mmrs", "training")
# Extras of those who work on the project; no command needs them.
DEVELOPMENT = {"test", "docs"}
# Imported by a library at our request, never by name in our code.
IMPORTED_FOR_US = {"accelerate", "bitsandbytes", "gguf", "s3fs", "tensorboard"}


def required(lines):
    """Distribution names of requirements; an extra of ours stands for what it requires."""
    names = set()
    for requirement in map(Requirement, lines):
        if requirement.name == "mmrs":
            for extra in requirement.extras:
                names |= required(PROJECT["optional-dependencies"][extra])
        else:
            names.add(canonicalize_name(requirement.name))
    return names


def imported_packages():
    """Top-level name of every import of the wheel's code that is neither the standard library's nor ours -> a file."""
    found = {}
    for path in [ROOT / "cli.py", *(path for name in OURS for path in (ROOT / name).rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            for name in names:
                found.setdefault(name.partition(".")[0], path.relative_to(ROOT))
    return {name: path for name, path in found.items() if name not in {*sys.stdlib_module_names, *OURS}}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The files of the wheel, built from a copy: the build leaves folders in its source."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("cli.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in OURS[1:]:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("tests", "benchmarks", "mmrs_scratch"):
        (source / name).mkdir()
        (source / name / "__init__.py").touch()
    code = f"from setuptools import build_meta; print(build_meta.build_wheel({str(out)!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)
    with zipfile.ZipFile(next(out.glob("*.whl"))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_has_four_top_level_names(wheel):
    tops = {name.partition("/")[0] for name in wheel}
    assert {top.removesuffix(".py") for top in tops if not top.endswith(".dist-info")} == set(OURS)


def test_the_wheel_has_all_modules_data_and_type_marks(wheel):
    wanted = {"cli.py"}
    for name in OURS[1:]:
        assert (ROOT / name / "py.typed").read_bytes() == b""
        files = (path for path in (ROOT / name).rglob("*") if path.is_file() and path.suffix != ".pyc")
        wanted |= {str(path.relative_to(ROOT)) for path in files}
    assert {name for name in wheel if ".dist-info/" not in name} == wanted


def test_the_metadata_says_what_it_is(wheel):
    metadata = next(data.decode() for name, data in wheel.items() if name.endswith("/METADATA"))
    assert f"Version: {mmrs.__version__}\n" in metadata and "version" in PROJECT["dynamic"]
    for field in ("Summary", "License-Expression: Apache-2.0", "Author", "Keywords", "Classifier", "Project-URL"):
        assert f"\n{field}" in metadata
    points = next(data.decode() for name, data in wheel.items() if name.endswith("/entry_points.txt"))
    assert "mmrs = mmrs.__main__:main" in points


def test_every_import_is_declared():
    declared = required(PROJECT["dependencies"])
    for name, lines in PROJECT["optional-dependencies"].items():
        declared |= set() if name in DEVELOPMENT else required(lines)
    homes = packages_distributions()
    undeclared = {
        f"{name} ({path})"
        for name, path in imported_packages().items()
        if not {canonicalize_name(home) for home in homes.get(name, [name])} & declared
    }
    assert undeclared == set()


def test_nothing_is_declared_that_no_code_imports():
    imported = {*imported_packages(), *IMPORTED_FOR_US}
    homes = packages_distributions()
    used = {canonicalize_name(home) for name in imported for home in homes.get(name, [name])}
    groups = {name: lines for name, lines in PROJECT["optional-dependencies"].items() if name not in DEVELOPMENT}
    declared = required(PROJECT["dependencies"]).union(*map(required, groups.values()))
    assert declared - used == set()


def test_the_table_of_extras_is_that_of_the_project():
    core = required(PROJECT["dependencies"])
    homes = packages_distributions()
    for module, extra in installation.EXTRA_OF_MODULE.items():
        names = {canonicalize_name(home) for home in homes.get(module, [module])}
        assert names & required(PROJECT["optional-dependencies"][extra]), module
        assert not names & core, module
    known = {canonicalize_name(home) for module in installation.EXTRA_OF_MODULE for home in homes.get(module, [module])}
    for extra, lines in PROJECT["optional-dependencies"].items():
        if extra not in DEVELOPMENT:
            assert required(lines) - core <= known, extra


@pytest.mark.parametrize("missing", ["torch", "transformers.models", "matplotlib.figure"])
def test_a_command_without_its_extra_ends_with_2_and_what_to_type(missing):
    extra = {"torch": "train", "transformers": "train", "matplotlib": "report"}[missing.partition(".")[0]]
    message, exit_code = cli.told(ModuleNotFoundError(f"No module named {missing!r}", name=missing))
    assert exit_code == 2 and f"pip install 'mmrs[{extra}]'" in message


def test_a_missing_module_of_no_extra_is_a_fault():
    message, exit_code = cli.told(ModuleNotFoundError("No module named 'nowhere'", name="nowhere"))
    assert exit_code == 1 and "fault of the program" in message


def test_the_command_starts_ours_whatever_lies_in_the_working_directory(tmp_path):
    """`python -m` puts the working directory first; so does a PYTHONPATH that names it."""
    (tmp_path / "cli.py").write_text("raise SystemExit('the cli of a user')")
    for name in ("training", "converters"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('a package of a user')")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    for words, says in ((["sources", "dota"], "licence"), (["train", "tinny"], "did you mean 'tiny'")):
        command = [sys.executable, "-m", "mmrs", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
        assert says in done.stdout + done.stderr and "of a user" not in done.stdout + done.stderr


def test_a_cli_of_another_package_is_named(tmp_path):
    """Two distributions with a ``cli.py`` overwrite each other's without a word of pip."""
    (tmp_path / "cli.py").write_text("def main(): ...\n")
    script = "import pathlib, sys, mmrs.__main__ as start, mmrs.installation as place\n"
    script += "place.HOME = pathlib.Path(sys.argv[1])\nstart.main()"
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "belongs to another package" in done.stderr


@pytest.mark.nightly
def test_mmrs_model_registers_ours_beside_a_folder_training_of_a_user(tmp_path):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "__init__.py").touch()
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    script = (
        "import mmrs, sys; assert 'torch' not in sys.modules\n"
        "import mmrs.model\n"
        "from transformers import CONFIG_MAPPING; print(CONFIG_MAPPING['earthgpt'])"
    )
    run = [sys.executable, "-c", script]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "EarthGPTConfig" in done.stdout
    taken = subprocess.run(
        [sys.executable, "-c", "import training, mmrs.model"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert "ImportError: the name training is taken by" in taken.stderr and "import mmrs.model first" in taken.stderr


def test_mmrs_model_without_its_extra_says_what_to_type():
    script = "import sys; sys.modules['torch'] = sys.modules['transformers'] = None; import mmrs.model"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.rstrip().endswith("is not installed: pip install 'mmrs[train]'")


def test_nothing_tells_a_stranger_to_import_training():
    """The name may be a user's own: `mmrs.model` is the door."""
    told = re.compile(r"(`|^)(import training|from training)\b")
    code = [*ROOT.glob("training/**/*.py"), *ROOT.glob("converters/**/*.py"), *ROOT.glob("mmrs/**/*.py")]
    strings = [
        (path, node.value)
        for path in code
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    pages = [(path, path.read_text()) for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"))]
    found = {path.name for path, text in [*strings, *pages] if any(map(told.search, text.splitlines()))}
    assert found == set()
