"""CONTRIBUTING.md shows the folders as they are, and the code that how-to pages add is linted like the project's."""

import subprocess
import sys

import pytest

from docs.hooks.reference.modules import folder_tree
from tests.support.pages import ROOT, read_blocks

WRITE = "python -m docs.hooks.reference.modules"
HOW_TO = sorted((ROOT / "docs" / "howto").glob("*.md"))


def test_the_tree_is_that_of_the_code():
    content = (ROOT / "CONTRIBUTING.md").read_text()
    assert f"```tree\n{folder_tree()}```" in content, f"the tree of CONTRIBUTING.md is old; `{WRITE}` writes it again"


def test_links_lead_somewhere():
    for page in (ROOT / "CONTRIBUTING.md", ROOT / "README.md"):
        for part in page.read_text().split("](")[1:]:
            target = part.partition(")")[0].partition("#")[0]
            assert "://" in target or (ROOT / target).exists(), f"{page.name} links to {target}, which is not there"


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_code_of_how_to_pages_is_linted_like_the_project(page, tmp_path):
    for block in read_blocks(page):
        if block.language != "python" or not block.title:
            continue
        path = tmp_path / block.title
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
        for words in (["check", "--quiet"], ["format", "--check", "--quiet"]):
            # What is the project's own is known by its folder, not by the copy's.
            options = ["--config", str(ROOT / "pyproject.toml"), "--config", f"src = ['{ROOT}']"]
            command = [sys.executable, "-m", "ruff", *words, *options, block.title]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
