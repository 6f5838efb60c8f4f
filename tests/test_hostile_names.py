"""Names of strangers, in manifests and indexes, are text wherever they are shown: terminal, plot, page and card."""

import polars as pl
import pytest

from mmrs.hub.card import _escaped
from mmrs.report.statistics import Statistics, describe_statistics
from mmrs.verify.dataset import VerifyFinding

HOSTILE = ["$\\frac{$", "$x$", "a\\$b$", "_hidden", "\x1b[2J\x1b]0;owned\x07", "\u202egnp.exe", "x" * 3000, "\n", ""]


def found(name):
    """Counts of one class with this name."""
    sizes = pl.DataFrame({"sensor": [name], "up_to": [128], "images": [1]})
    text = pl.DataFrame({"task": [name], "up_to": [64], "dialogues": [1]})
    classes = pl.DataFrame({"source": ["toy"], "kind": ["object"], "name": [name], "images": [3]})
    splits = pl.DataFrame({"source": [name], "split": ["train"], "images": [1]})
    tasks = pl.DataFrame({"task": [name], "dialogues": [2], "images": [1]})
    tables = {"class": classes, "size": sizes, "text_length": text, "split": splits, "task": tasks}
    return Statistics("0" * 64, tables)


@pytest.mark.parametrize("name", HOSTILE)
def test_every_name_draws(name):
    pytest.importorskip("matplotlib")
    from mmrs.report.plots import make_plots

    assert all(data.startswith(b"\x89PNG") and len(data) < 200_000 for data in make_plots(found(name)).values())


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_moves_the_cursor(name):
    said = describe_statistics(found(name))
    assert all(letter.isprintable() or letter == "\n" for letter in said)


def test_a_card_has_no_markup_of_strangers():
    hostile = "![x](https://h/x.png) <script>|\n# title \x1b"
    assert _escaped(hostile) == r"!\[x\](https://h/x.png) &lt;script>\| # title"


def test_a_name_of_any_length_is_shown_by_its_beginning():
    said = str(VerifyFinding("a.tar", "k" * 60_000, "name is " + "x" * 60_000))
    assert len(said) < 1500 and said.startswith("a.tar [kkk") and "...]: name is xxx" in said and said.endswith("...")
