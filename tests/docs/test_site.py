"""The site builds without a warning or a network, needs none to be read, and leaves nothing of the code out.

The build itself is for the night: with each change runs what breaks it most often, and what its made pages say.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from markdown.extensions.toc import slugify

import converters
from cli import main
from docs.hooks.drawings import DRAWINGS
from docs.hooks.notebooks import notebook_pages
from docs.hooks.reference.catalogue import sources_page
from docs.hooks.reference.commands import commands_page, walk
from docs.hooks.reference.modules import PACKAGES, first_line, modules_page
from docs.hooks.reference.pages import PAGES
from docs.hooks.reference.protocols import protocols_page
from docs.hooks.reference.settings import meanings, sections
from mmrs.builder.recipe import BuildRecipe
from training.config import TrainConfig

ROOT = Path(__file__).resolve().parents[2]
BUILD = """
import socket, sys

def refuse(*_):
    raise OSError("the site was built with a connection to somewhere")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
from mkdocs.__main__ import cli

cli(["build", "--strict", "--quiet", "--site-dir", sys.argv[1]])
"""
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video)[^>]*\ssrc=["']?(https?:)?//"""
    r"""|<link[^>]*rel=["']?(?:stylesheet|preload|preconnect|icon)[^>]*href=["']?(https?:)?//"""
    r"""|<link[^>]*href=["']?(https?:)?//[^>]*rel=["']?(?:stylesheet|preload|preconnect|icon)""",
    re.IGNORECASE,
)
SOURCES = sorted((ROOT / "docs").rglob("*.md"))
MADE = {*PAGES, *notebook_pages()}
LINK = re.compile(r"\]\((?!\w+:)([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
# Words of a table's first column: what the rows are about.
WORD = re.compile(r"^\| `([\w.-]+)` \|", re.MULTILINE)
FETCHED_BY_STYLE = re.compile(r"""(?:url\(|@import )\s*["']?(?:https?:)?//""")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(out)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def text_of(page: Path) -> str:
    return re.sub(r"<[^>]+>", "", page.read_text()).replace("&lt;", "<").replace("&amp;", "&").replace("&gt;", ">")


@pytest.mark.nightly
def test_no_page_fetches_anything(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        assert not FETCHED.search(page.read_text()), page
    for style in site.rglob("*.css"):
        assert not FETCHED_BY_STYLE.search(style.read_text()), style


@pytest.mark.nightly
def test_nothing_that_makes_the_site_is_published(site):
    assert not list(site.rglob("*.py")) and not list(site.rglob("*.ipynb"))


@pytest.mark.nightly
def test_what_is_made_from_the_code_is_published(site):
    for name in PAGES:
        text = text_of(site / name.replace(".md", ".html"))
        missing = [word for word in WORD.findall(PAGES[name]()) if word not in text]
        assert not missing, f"{name}: {missing[:5]}"


@pytest.mark.nightly
def test_every_drawing_is_published(site):
    assert sum(path.read_text().count('class="drawing"') for path in site.rglob("*.html")) == len(DRAWINGS)


def test_every_drawing_is_in_a_page():
    pages = "".join(path.read_text() for path in SOURCES)
    assert set(re.findall(r"<!-- drawing: ([\w-]+) -->", pages)) == set(DRAWINGS)


@pytest.mark.parametrize("page", SOURCES, ids=lambda path: path.relative_to(ROOT / "docs").as_posix())
def test_every_link_leads_to_a_page_or_a_heading(page):
    """What a strict build refuses, in a thousandth of its time; anchors of pages made from the code are left to it."""
    for target in LINK.findall(CODE.sub("", page.read_text())):
        path, _, anchor = target.partition("#")
        aim = (page.parent / path).resolve() if path else page
        name = aim.relative_to(ROOT / "docs").as_posix()
        if name in MADE:
            continue
        assert aim.exists(), f"{target} is not there"
        if anchor:
            assert anchor in anchors(aim), f"{target}: {name} has {sorted(anchors(aim))}"


def anchors(page: Path) -> set[str]:
    text = CODE.sub("", page.read_text())
    headings = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    documented = re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE)
    return {*documented, *(slugify(re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading), "-") for heading in headings)}


def test_every_source_has_its_facts():
    text = sources_page()
    for name in converters.names():
        assert f"\n## {name}\n" in text, name
        assert converters.facts(name).citation[:20] in text, name


def test_every_command_and_option_is_there():
    text = commands_page()
    found = list(walk(main, click.Context(main, info_name="mmrs")))
    assert len(found) > 15
    for context, command in found:
        assert context.command_path in text
        for option in command.params:
            assert isinstance(option, click.Argument) or max(option.opts, key=len) in text, (command.name, option.opts)


@pytest.mark.parametrize("recipe", [BuildRecipe, TrainConfig])
def test_every_key_of_a_recipe_has_its_sentence(recipe):
    for prefix, section in sections(recipe):
        missing = [name for name, words in meanings(section).items() if not words]
        assert not missing, f"{prefix or recipe.__name__}: no sentence below {missing}"


def test_every_protocol_has_its_rule():
    from training.evaluation.tasks import find_task, task_names

    text = protocols_page()
    for protocol in [protocol for name in task_names() for protocol in find_task(name).protocols]:
        assert protocol.name in text and protocol.metric in text, protocol.name


def test_every_module_has_its_line():
    text = modules_page()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            assert first_line(path), f"{path} has no docstring"
            assert path.name == "__init__.py" or path.name in text, path
