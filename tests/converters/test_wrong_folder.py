"""Who names a folder that a source does not read is told the option, folder or source that does, and it works."""

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
]


def test_the_product_that_tables_hold_is_told(fake):
    root = fake("eurosat", layout="hugging-face", images_per_class=3, classes=["Forest", "River"])
    done, advice = told(["scan", "eurosat", str(root), "--option", "product=ms"])
    assert (done.exit_code, advice) == (2, ["--option product=rgb"]) and "none is .tif, .tiff" in done.output


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


def test_an_option_that_the_message_has_already_is_not_said_twice(fake):
    done, advice = told(["scan", "dota", str(fake("dota", release="1.5", images_per_split=1))])
    assert (done.exit_code, advice) == (2, []) and done.output.count("--option release=1.5") == 1


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


SCAN = re.compile(r"`(mmrs scan [^`]*)`")


def run_scans(output):
    """The scans that a message tells to type, each typed, with what they print."""
    commands = SCAN.findall(output)
    return {command: CliRunner().invoke(cli.main, shlex.split(command)[1:]) for command in commands}


@pytest.mark.parametrize("name", ["dior", "hrrsd", "mar20"])
def test_folders_of_another_source_are_not_offered_as_ones_own(name, fake):
    """Both XML layouts of HIT-UAV are PASCAL VOC, as those of three sources are."""
    root = fake("hit-uav")
    done = CliRunner().invoke(cli.main, ["scan", name, str(root)])
    assert done.exit_code == 2 and "normal_xml" not in done.output and "name one" not in done.output
    scans = run_scans(done.output)
    assert list(scans) == [f"mmrs scan hit-uav {root}"]
    assert all(one.exit_code == 0 and re.search(r"train +12 ", one.output) for one in scans.values()), scans


def test_one_folder_of_another_source_is_scanned_with_a_note(fake):
    root = fake("hit-uav")
    for layout in ("normal_json", "normal_xml", "rotate_json"):
        shutil.rmtree(root / layout)
    done = CliRunner().invoke(cli.main, ["scan", "hrrsd", str(root)])
    assert f"note: this is no hrrsd; `mmrs scan hit-uav {root}` reads it" in done.output


def test_of_several_folders_those_are_named_that_the_source_reads(fake, tmp_path):
    for name in ("dior", "mar20"):
        fake(name)
    done = CliRunner().invoke(cli.main, ["scan", "dior", str(tmp_path)])
    scans = run_scans(done.output)
    assert (done.exit_code, list(scans)) == (2, [f"mmrs scan dior {tmp_path / 'dior'}"])
    assert all(one.exit_code == 0 for one in scans.values())


def test_a_build_of_another_sources_folder_is_told_the_source(fake, tmp_path):
    root = fake("rsicd")
    words = ["build", "dscr", "--root", f"dscr={root}", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(cli.main, words)
    assert (done.exit_code, SCAN.findall(done.output)) == (2, [f"mmrs scan rsicd {root}"])
