"""README.md: short, and every source in its table. Its commands are run by ``test_pages``."""

import re

import converters
from docs.hooks.reference.catalogue import table_by_task
from tests.support.pages import ROOT

README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
LARGEST_PICTURE = 300_000


def test_it_is_short():
    assert README.count("\n") <= 120


def test_the_table_is_that_of_the_facts():
    assert f"|---|---|---|---|\n{table_by_task()}\n" in README, f"the table of sources should be:\n{table_by_task()}"
    for name in converters.names():
        assert f"`{name}`" in README, name


def test_every_target_of_make_is_there():
    for target in re.findall(r"`?make ([\w-]+)", README):
        assert f"\n{target}:" in MAKEFILE, target


def test_pictures_are_small():
    for picture in (ROOT / "docs" / "images").iterdir():
        assert picture.stat().st_size < LARGEST_PICTURE, picture
