"""Nothing that the data names is read where a link leads out of the source, unless the user says so."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import cli
import converters
from converters import samples
from converters.mirrors.columns import read_image_table
from mmrs.errors import BadItem, UserError
from mmrs.storage.plain_files import reading_below
from tests.support.sources import noise_image

OWN = "name: own\nformat: yolo\nsensor: optical\nlicence: CC0-1.0\nimages: images\nannotations: labels\n"


@pytest.fixture
def own(tmp_path):
    """Own data of three images; returns its root and a function that gives the converter of a description."""
    root = tmp_path / "set"
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(3):
        (root / "images" / f"ok{number}.jpg").write_bytes(noise_image(generator))
    (tmp_path / "secret.txt").write_text("SECRET\n")

    def described(rest: str):
        (root / "mmrs.yaml").write_text(OWN + rest)
        return converters.get("generic", description=str(root / "mmrs.yaml"))

    return root, described


@pytest.mark.parametrize("classes", ["../secret.txt", "link.txt", "folder/secret.txt", "pipe"])
def test_a_class_file_lies_beside_its_description(own, tmp_path, classes):
    root, described = own
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "folder").symlink_to(tmp_path)
    os.mkfifo(root / "pipe")
    with pytest.raises(UserError, match=r"cannot be read: (leads to .*outside of|no plain file)") as error:
        described(f"classes: {classes}\n")
    assert "SECRET" not in str(error.value)
    if classes != "pipe":
        with reading_below(tmp_path, follow_links=True):
            assert described(f"classes: {classes}\n").categories == ("SECRET",)


def test_a_description_is_no_link_to_another_folder(own, tmp_path):
    root, _ = own
    (tmp_path / "secret.yaml").write_text("password: SECRET")
    (root / "mmrs.yaml").symlink_to(tmp_path / "secret.yaml")
    with pytest.raises(UserError, match=r"leads to .*--follow-links") as error:
        converters.get("generic", description=str(root / "mmrs.yaml"))
    assert "SECRET" not in str(error.value)


def test_a_split_list_and_an_annotation_file_stay_inside(own, tmp_path):
    root, described = own
    source = described("classes: [ship]\nsplits: {train: t.txt}\n")
    (root / "t.txt").symlink_to(tmp_path / "secret.txt")
    with reading_below(root), pytest.raises(UserError, match=r"t\.txt.*outside of"):
        source.discover(root, "train")
    with reading_below(root, follow_links=True):
        assert "SECRET" in str(source.discover(root, "train").problems)
    (root / "labels").rmdir()
    (root / "labels").symlink_to(tmp_path / "labels")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "ok0.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    source = described("classes: [ship]\n")
    with reading_below(root), pytest.raises(UserError, match="outside the root"):
        source.discover(root, "train")
    with reading_below(root, follow_links=True):
        found = source.discover(root, "train")
    assert [path for item in found.items for path in item.annotations] == [root / "labels" / "ok0.txt"]


def test_links_in_a_circle_end(own):
    root, described = own
    (root / "images" / "again").symlink_to(root / "images")
    source = described("classes: [ship]\n")
    for allowed in (False, True):
        with reading_below(root, allowed):
            assert len(source.discover(root, "train").items) == 3


@pytest.mark.parametrize("name", ["hit-uav", "dior", "hrsid", "rsvqa-lr", "dscr"])
def test_no_source_reads_a_shared_file_by_a_link(name, tmp_path):
    """Of every source with a file that a whole split depends on: that file lies elsewhere."""
    root, elsewhere = tmp_path / "set", tmp_path / "elsewhere"
    samples.write(name, root)
    elsewhere.mkdir()
    source = converters.get(name)
    split = source.splits[0]
    with reading_below(root):
        whole = source.discover(root, split)
    shared = {
        path for path in whole.consulted if path.is_file() and path.suffix not in (".jpg", ".png", ".tif", ".bmp")
    }
    uses = [path for item in whole.items for path in item.annotations]
    shared |= {path for path in set(uses) if uses.count(path) > 1}
    assert shared
    for number, path in enumerate(sorted(shared)):
        shutil.move(path, elsewhere / f"{number}{path.suffix}")
        path.symlink_to(elsewhere / f"{number}{path.suffix}")
    with reading_below(root, follow_links=True):
        assert len(source.discover(root, split).items) == len(whole.items)
    with reading_below(root):
        try:
            found = source.discover(root, split)
        except UserError as error:
            assert "outside" in str(error)
        else:
            assert "outside" in str(found.problems) + str(found.shared_problems)


def test_a_table_is_no_link_and_no_pipe(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.parquet").symlink_to(tmp_path / "b.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1")
    os.mkfifo(tmp_path / "set" / "pipe.parquet")
    for name in ("a", "pipe"):
        with reading_below(tmp_path / "set"), pytest.raises(BadItem, match=r"outside of|no plain file"):
            read_image_table(tmp_path / "set" / f"{name}.parquet")


def test_the_layout_may_lie_one_folder_up(tmp_path):
    root = tmp_path / "set"
    samples.write("dior", root)
    inner = next(folder for folder in ("JPEGImages", "Annotations", "ImageSets", "Main") if (root / folder).is_dir())
    source = converters.get("dior")
    with reading_below(root):
        whole = source.discover(root, "train")
    try:
        with reading_below(root / inner):
            assert source.discover(root / inner, "train").items == whole.items
    except UserError as error:
        pytest.fail(str(error))


def test_links_are_allowed_on_purpose_and_the_manifest_says_so(own, tmp_path):
    root, _ = own
    (root / "mmrs.yaml").write_text(OWN + "classes: c.txt\n")
    (tmp_path / "classes").mkdir()
    (tmp_path / "classes" / "c.txt").write_text("ship\n")
    (root / "c.txt").symlink_to(tmp_path / "classes" / "c.txt")

    def run(command, *words):
        option = ("--option", f"description={root / 'mmrs.yaml'}")
        return CliRunner().invoke(cli.main, ["--quiet", command, "generic", *words, *option])

    built = [f"--root=own={root}", "--workers=1"]
    assert "--follow-links" in run("scan", str(root)).output
    assert run("scan", str(root), "--follow-links").exit_code == 0
    refused = run("build", *built, "--out", str(tmp_path / "refused"))
    assert refused.exit_code == 2 and "--follow-links" in refused.output
    allowed = run("build", *built, "--follow-links", "--out", str(tmp_path / "out"))
    assert allowed.exit_code == 0, allowed.output
    assert recipe(tmp_path / "out")["follow_links"] is True
    (root / "c.txt").unlink()
    shutil.copy(tmp_path / "classes" / "c.txt", root / "c.txt")
    assert run("build", *built, "--out", str(tmp_path / "plain")).exit_code == 0
    assert "follow_links" not in recipe(tmp_path / "plain")


def recipe(out: Path) -> dict:
    return json.loads((out / "manifest.json").read_bytes())["recipe"]
