"""Files about the project that no program of it reads: they parse, and name what is there."""

import itertools
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
TOP_LEVEL = {
    ".ci", ".github", ".gitignore", ".pre-commit-config.yaml", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md",
    "LICENSE", "Makefile", "README.md", "SECURITY.md", "benchmarks", "cli.py", "constraints.txt", "converters", "docs",
    "examples", "mkdocs.yml", "mmrs", "pyproject.toml", "tests", "training",
}  # fmt: skip
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def commands(path):
    """What each step of a workflow runs."""
    jobs = yaml.safe_load(path.read_text())["jobs"]
    return {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()}


def test_nothing_strays_into_the_top_level():
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout of git says which files belong to the project")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {name.partition("/")[0] for name in listed.splitlines()} == TOP_LEVEL


def test_the_workflow_runs_targets_of_the_makefile():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    jobs = commands(ROOT / ".github" / "workflows" / "ci.yml")
    assert set(jobs) >= {"lint", "tests", "wheel", "docs"}
    for words in itertools.chain.from_iterable(jobs.values()):
        assert words.removeprefix("make ") in targets


def test_the_workflow_takes_the_oldest_and_newest_python_that_is_declared():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    declared = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert jobs["tests"]["strategy"]["matrix"]["python"] == [declared[0], declared[-1]]


def test_pre_commit_runs_what_lint_runs():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    lint = re.search(r"^lint:.*\n((\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    tools = [line.split("/")[-1].split()[:2] for line in lint.splitlines()]
    assert [hook["entry"].split("/")[-1].split()[:2] for hook in hooks] == [
        words if words[-1] != "." else words[:-1] for words in tools
    ]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_asks_for_something(path):
    form = yaml.safe_load(path.read_text())
    if path.stem == "config":
        assert form["blank_issues_enabled"] is True
        return
    assert form["name"] and form["description"]
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields) > 0
    assert any(field.get("validations", {}).get("required") for field in fields) or path.stem == "wish"


def test_the_citation_names_the_paper_and_the_licence_of_the_project():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["license"] == "Apache-2.0" and citation["title"].startswith("mmrs")
    paper = citation["preferred-citation"]
    assert paper["title"].startswith("EarthGPT") and "2401.16822" in paper["url"]


def test_everything_but_torch_is_installed_by_its_hash():
    """The lists of hashes are those of the pins: a pin that changed asks for `python .ci/lock.py`."""
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    locked = {}
    for name in ("locked.txt", "locked-model.txt"):
        text = (ROOT / ".ci" / name).read_text()
        for package in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]:
            locked[package.partition("==")[0]] = re.split(r"[ ;\\]", package.partition("==")[2])[0]
            assert re.findall(r"--hash=sha256:[0-9a-f]{64}(?= \\\n|\n)", package)
    normal = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins.items()}
    assert {name: version for name, version in locked.items() if normal.get(name, version) != version} == {}
    assert normal.keys() - locked.keys() == {"torch"}
    recipe = (ROOT / "Makefile").read_text()
    assert recipe.count("--no-deps --require-hashes --requirement") == 2
