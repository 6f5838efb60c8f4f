"""Findings about a whole set: the same in every split, and counted once, whichever splits are built or scanned."""

import orjson
import pytest
from click.testing import CliRunner

import cli
import converters
from mmrs.imaging.suffixes import SOURCE_SUFFIXES

NAMES = [name for name in converters.names() if name != "generic"]


@pytest.mark.parametrize("name", NAMES)
def test_no_fault_of_a_folder_is_counted_with_two_splits(fake, name):
    root = fake(name)
    files = [path for path in root.rglob("*") if path.suffix.lower() in {*SOURCE_SUFFIXES, ".xml", ".txt", ".json"}]
    for folder, suffix in {(path.parent, path.suffix) for path in files}:
        (folder / f"zz_nowhere{suffix}").symlink_to("nowhere")
    converter = converters.get(name)
    found = [converter.discover(root, split) for split in converter.splits]
    assert {one.shared_problems for one in found} == {found[0].shared_problems}
    problems = [problem for one in found for problem in one.problems]
    assert len(set(problems)) == len(problems)
    assert not set(problems) & set(found[0].shared_problems)
    assert problems or found[0].shared_problems


@pytest.fixture
def rsicd(fake):
    """RSICD with an image that its JSON does not name."""
    root = fake("rsicd")
    folder = root / "RSICD_images"
    (folder / "stray.jpg").write_bytes((folder / "beach_2.jpg").read_bytes())
    return root


def build(rsicd, out, *settings):
    words = ["build", "rsicd", "--root", f"rsicd={rsicd}", "--out", str(out), "--workers", "1"]
    done = CliRunner().invoke(cli.main, [*words, *(word for one in settings for word in ("--set", one))])
    rows = [orjson.loads(line) for line in (out / "quarantine.jsonl").read_bytes().splitlines()]
    return done, [(row["split"], row["path"], row["images"]) for row in rows if row["level"] == "set"]


def test_a_build_of_one_split_says_what_concerns_the_whole_set(rsicd, tmp_path):
    done, rows = build(rsicd, tmp_path / "out", "sources.0.splits=[test]")
    assert done.exit_code == 1 and "1 of 6 images are bad" in done.output
    assert rows == [("test", "RSICD_images/stray.jpg", 1)]


def test_a_build_of_all_splits_says_it_once_and_weighs_it_against_all_images(rsicd, tmp_path):
    done, rows = build(rsicd, tmp_path / "all")
    assert done.exit_code == 1 and "1 of 26 images are bad" in done.output
    assert rows == [("train", "RSICD_images/stray.jpg", 1)]
    done, rows = build(rsicd, tmp_path / "some", "sources.0.splits=[val, test]", "quarantine_ceiling=0.2")
    assert done.exit_code == 0 and "1 x RSICD_images/stray.jpg: dataset_rsicd.json does not name" in done.output
    assert rows == [("val", "RSICD_images/stray.jpg", 1)]


def test_a_scan_says_it_with_the_first_split_that_is_there(fake):
    root = fake("dscr")
    image = next(path for path in root.rglob("*") if path.suffix.lower() in SOURCE_SUFFIXES)
    (image.parent / "zz.jpg").symlink_to("nowhere")
    (root / "annotations" / "train.csv").unlink()
    done = CliRunner().invoke(cli.main, ["scan", "dscr", str(root), "--json"])
    splits = orjson.loads(done.stdout)["splits"]
    assert [(one["split"], len(one["problems"])) for one in splits] == [("val", 1), ("test", 0)]
