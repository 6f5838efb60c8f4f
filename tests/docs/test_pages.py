"""Every page of the documentation does what it says: its blocks are run in order, its outputs are those of the run."""

from pathlib import Path

import pytest

from tests.support.pages import ROOT, check_commands, copy_project, read_blocks, run_page
from tests.support.preloaded import preloaded_mmrs

DOCS = ROOT / "docs"
# These add files to the project itself.
HOW_TO = [page for page in sorted((DOCS / "howto").glob("*.md")) if any(block.is_run for block in read_blocks(page))]
PAGES = [ROOT / "README.md", *sorted(path for path in DOCS.rglob("*.md") if path not in HOW_TO)]


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """A folder with a program `mmrs` that starts at once."""
    folder = tmp_path_factory.mktemp("programs")
    with preloaded_mmrs(folder):
        yield folder


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def run_pages():
    """Pages with commands. All take long, so that with each change runs the first that a stranger follows."""
    for page in PAGES:
        if any(block.is_run for block in read_blocks(page)):
            is_first = name(page) == "docs/start/first-shards.md"
            yield pytest.param(page, marks=() if is_first else pytest.mark.nightly, id=name(page))


@pytest.mark.parametrize("page", list(run_pages()))
def test_the_page_runs(page, tmp_path, programs):
    run_page(page, tmp_path, programs=programs)


@pytest.mark.nightly
@pytest.mark.parametrize("page", HOW_TO, ids=name)
def test_the_how_to_adds_to_the_project_what_it_says(page, tmp_path):
    copy_project(tmp_path)
    run_page(page, tmp_path, code=tmp_path)


@pytest.mark.parametrize("page", [*PAGES, *HOW_TO], ids=name)
def test_what_is_not_run_is_parsed(page):
    for block in read_blocks(page):
        if block.language == "bash" and block.reason:
            check_commands(block)
