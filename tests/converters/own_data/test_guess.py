"""A guessed description reads what the true one reads, for every format, and the commands that are printed work."""

import json
import os
import re
import shlex
import shutil

import pytest
import yaml
from click.testing import CliRunner

import cli
from converters import samples
from converters.own_data.guess import _line_kind, guess_description
from mmrs.errors import UserError

FORMATS = ("coco", "voc", "dota", "yolo", "yolo-obb", "folders", "llava")


def mmrs(*words):
    return CliRunner().invoke(cli.main, ["--quiet", *map(str, words)])


@pytest.fixture
def made(tmp_path):
    """Writes a set of a format; its true description is moved away."""

    def write(form, **options):
        root = tmp_path / "My Set (1)"
        samples.write("generic", root, format=form, **options)
        return root, shutil.move(root / "mmrs.yaml", tmp_path / "true.yaml")

    return write


def described(shown):
    """The description file that was printed."""
    return yaml.safe_load(shown.partition("\n\nevidence:")[0])


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_guessed_reads_what_the_truth_reads(made, form):
    root, truth = made(form)
    shown = mmrs("scan", "generic", root, "--guess")
    assert shown.exit_code == 0, shown.output
    guessed = described(shown.output)
    assert guessed["format"] == form and guessed["splits"] == ["train", "val"]
    assert "100% of those tried were understood" in shown.output
    (root / "mmrs.yaml").write_text(shown.output.partition("\n\nevidence:")[0])
    scan, build = re.findall(r"^next: `mmrs (.*)`$", shown.output, re.MULTILINE)
    done = mmrs(*shlex.split(scan), "--json")
    assert done.exit_code == 0, done.output
    true = json.loads(mmrs("scan", "generic", root, "--option", f"description={truth}", "--json").output)
    keys = ("split", "images", "objects", "captions", "questions")
    assert [[part[key] for key in keys] for part in json.loads(done.output)["splits"]] == [
        [part[key] for key in keys] for part in true["splits"]
    ]
    if form == "coco":
        words = [*shlex.split(build)[:-1], root.parent / "shards", "--workers", 1]
        assert mmrs(*words).exit_code == 0


def test_names_of_yolo_s_classes_come_from_its_own_file(made):
    root, _ = made("yolo")
    (root / "data.yaml").write_text("names:\n  0: ship\n  1: storage-tank\n  2: crane\n")
    guess = guess_description(root)
    assert guess.description["classes"] == ["ship", "storage-tank", "crane"]
    assert any("those of" in sentence and "data.yaml" in sentence for sentence in guess.evidence)


@pytest.mark.parametrize("form", ["voc", "yolo"])
def test_without_folders_of_splits_there_is_one(made, form):
    root, _ = made(form)
    for kind in ("images", "labels"):
        for path in sorted((root / kind).rglob("*.*")):
            path.rename(root / kind / f"{path.parent.name}-{path.name}")
        for folder in [path for path in (root / kind).iterdir() if path.is_dir()]:
            folder.rmdir()
    guess = guess_description(root)
    assert guess.description["splits"] == ["train"] and guess.images == {"train": 6}


@pytest.mark.parametrize("form", ["folders", "yolo"])
def test_splits_keep_the_names_of_their_folders(made, form):
    root, _ = made(form)
    for folder in [path for path in root.rglob("val") if path.is_dir()]:
        folder.rename(folder.with_name("valid"))
    guess = guess_description(root)
    assert guess.description["splits"] == ["train", "valid"]
    assert sorted(guess.images) == ["train", "valid"] and min(guess.images.values()) > 0


def test_tables_and_labels_alone_are_named(tmp_path):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"image": [b"x"], "label": [1]}), tmp_path / "train.parquet")
    (tmp_path / "labels.csv").write_text("file,class\na.jpg,ship\n")
    with pytest.raises(UserError) as caught:
        guess_description(tmp_path)
    assert "train.parquet is a table of image, label; no description reads tables" in str(caught.value)
    assert "labels.csv is a table of file, class" in str(caught.value)
    assert "There is no image" in str(caught.value)


def test_only_data_of_one_s_own_is_guessed(tmp_path):
    refused = mmrs("scan", "dota", tmp_path, "--guess")
    assert refused.exit_code == 2 and "the source is then generic" in refused.output


def test_no_link_leads_out_and_no_pipe_is_waited_for(made, tmp_path):
    root, _ = made("coco")
    secret = tmp_path / "secret.json"
    shutil.move(root / "annotations" / "train.json", secret)
    (root / "annotations" / "train.json").symlink_to(secret)
    os.mkfifo(root / "annotations" / "test.json")
    (root / "annotations" / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="nothing that a description can read"):
        guess_description(root)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("0 0.5 0.5 0.25 0.125", ("yolo", "0")),
        ("1 0 0 1 0 1 1 0 1", ("yolo-obb", "1")),
        ("1.0 2.0 3.0 2.0 3.0 4.0 1.0 4.0 large-vehicle 0", ("dota", "large-vehicle")),
        ("1 2 3 2 3 4 1 4 plane", ("dota", "plane")),
        ("imagesource:GoogleEarth", None),
        ("0 512 300 20 20", None),
        ("0 nan 0.5 0.5 0.5", None),
        ("", None),
    ],
)
def test_lines_of_labels(line, kind):
    assert _line_kind(line) == kind
