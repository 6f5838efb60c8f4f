"""Who holds another form of a source than the options read is told the option, by scan and by build, and it works."""

import re
import shlex
import shutil

import pytest
from click.testing import CliRunner

import cli

FEW = {"multiband": True, "images_per_class": 2, "classes": ["Forest", "River"]}
# Source, options of its sample, paths of the sample to take away, and the option that reads the rest.
FORMS = [
    ("eurosat", FEW, ("2750",), "product=ms"),
    ("dior", {}, ("Annotations/Horizontal Bounding Boxes",), "boxes=oriented"),
    ("nwpu-vhr10", {}, ("NWPU VHR-10 dataset/ground truth",), "annotations=coco"),
    ("hit-uav", {}, ("rotate_json", "rotate_xml"), "layout=normal_json"),
    ("dota", {"release": "1.5", "images_per_split": 1}, (), "release=1.5"),
]


@pytest.fixture
def all_bands(fake):
    """EuroSAT as those hold it who took the archive of all bands alone."""
    root = fake("eurosat", **FEW)
    shutil.rmtree(root / "2750")
    return root


def told(words):
    done = CliRunner().invoke(cli.main, words)
    return done, re.findall(r"`(--option [^`]*)` reads what is there", done.output)


@pytest.mark.parametrize(("name", "sample", "away", "option"), FORMS, ids=[form[0] for form in FORMS])
def test_the_option_that_reads_what_is_there_is_told_and_works(name, sample, away, option, fake):
    root = fake(name, **sample)
    for path in away:
        shutil.rmtree(root / path)
    done, advice = told(["scan", name, str(root)])
    assert (done.exit_code, advice) == (2, [f"--option {option}"]), done.output
    done, advice = told(["scan", name, str(root), *shlex.split(f"--option {option}")])
    assert (done.exit_code, advice) == (0, []), done.output


@pytest.mark.parametrize("spelling", ["--option", "--set"])
def test_a_build_takes_the_same_words(spelling, all_bands, tmp_path):
    words = ["build", "eurosat", "--root", f"eurosat={all_bands}", "--out", str(tmp_path / "out"), "--dry-run"]
    done, advice = told(words)
    assert (done.exit_code, advice) == (2, ["--option product=ms"]), done.output
    assert told([*words, spelling, "product=ms"])[0].exit_code == 0


def test_a_recipe_with_several_sources_says_whose_option_it_is(fake, all_bands, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    entries = [
        f"  - {{name: {name}, root: {root}}}" for name, root in (("rsicd", fake("rsicd")), ("eurosat", all_bands))
    ]
    recipe.write_text("\n".join(["sources:", *entries]))
    words = ["build", str(recipe), "--out", str(tmp_path / "out"), "--dry-run"]
    done, advice = told(words)
    assert (done.exit_code, advice) == (2, ["--option eurosat.product=ms"])
    assert told([*words, *shlex.split(advice[0])])[0].exit_code == 0


def test_the_tree_that_is_there_is_not_said_to_be_missing(all_bands):
    done, _ = told(["scan", "eurosat", str(all_bands)])
    assert "sentinel_2" not in done.output and "expected: 2750/" in done.output


def test_nothing_is_told_where_no_option_helps(tmp_path):
    assert told(["scan", "eurosat", str(tmp_path)])[1] == []
    done, advice = told(["build", "eurosat", "--root", f"eurosat={tmp_path}", "--out", str(tmp_path / "out")])
    assert (done.exit_code, advice) == (2, [])
