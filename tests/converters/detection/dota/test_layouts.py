"""The layouts that tools made of DOTA: each is read as the official one, or says what it lost and what to type."""

import re
import shutil
from collections import Counter

import numpy as np
import pytest
from click.testing import CliRunner

import cli
import converters
from converters.detection.dota.layouts import choose_labels, labels_of
from mmrs.errors import UserError
from mmrs.shards.manifest import load_manifest
from tests.support.hints import commands_in, words_of


def read_all(root, part="train", **options):
    converter = converters.get("dota", **options)
    found = converter.discover(root, part)
    return found, {item.stem: converter.read(item) for item in found.items}


def objects_of(read):
    return {stem: [(obj.label, obj.quad, obj.difficult) for obj in known.objects] for stem, known in read.items()}


@pytest.mark.parametrize("layout", ["torchgeo", "ultralytics"])
@pytest.mark.parametrize("release", ["1.0", "2.0"])
def test_the_same_objects_as_in_the_official_layout(fake, layout, release):
    official = fake("dota", release=release)
    expected = objects_of(read_all(official, release=release)[1])
    shutil.rmtree(official)
    found, read = read_all(fake("dota", release=release, layout=layout), release=release)
    assert objects_of(read) == expected and found.problems == ()
    if layout == "torchgeo":
        assert not any("no release" in note for note in found.notes)
        assert read["P0000"].provenance.annotation == f"annotations/version{release}/P0000.txt"


def test_torchgeo_never_mixes_releases(fake):
    root = fake("dota", release="1.5", layout="torchgeo")
    with pytest.raises(
        UserError, match=r"(?s)no labels of DOTA 2.0 for train; .*annotations/version1.5 .*--option release"
    ):
        read_all(root, release="2.0")


def test_fractions_are_the_same_corners_and_lose_the_flag(fake):
    root = fake("dota", layout="ultralytics")
    exact = objects_of(read_all(root)[1])
    for split in ("train", "val"):
        shutil.rmtree(root / "labels" / f"{split}_original")
    found, read = read_all(root)
    assert any("no flag `difficult`" in note for note in found.notes)
    assert sum(map(len, exact.values())) > 16
    for stem, rows in objects_of(read).items():
        assert [row[0] for row in rows] == [row[0] for row in exact[stem]]
        assert not any(row[2] for row in rows)
        quads, expected = np.array([row[1] for row in rows]), np.array([row[1] for row in exact[stem]])
        assert np.abs(quads - expected).max(initial=0) < 0.01


def test_the_set_s_own_yaml_says_what_the_numbers_mean(fake):
    root = fake("dota", layout="ultralytics")
    shutil.rmtree(root / "labels" / "train_original")
    (root / "labels" / "train" / "P0003.txt").write_text("1 0.1 0.1 0.2 0.1 0.2 0.3 0.1 0.3\n")
    labels = [obj.label for obj in read_all(root)[1]["P0003"].objects]
    assert labels == ["ship"]
    (root / "other.yaml").write_text("seed: 1\n")
    (root / "data.yaml").write_text("names: {0: plane, 1: storage tank}\n")
    assert [obj.label for obj in read_all(root)[1]["P0003"].objects] == ["storage-tank"]
    (root / "data.yaml").write_text("names: [plane, car]\n")
    with pytest.raises(UserError, match=r"data.yaml: unknown class 'car'.*classes of DOTA 1.0"):
        read_all(root)


def test_a_number_of_a_later_release_costs_its_row(fake):
    root = fake("dota", release="1.5", layout="ultralytics")
    shutil.rmtree(root / "labels" / "train_original")
    (root / "labels" / "train" / "P0003.txt").write_text("15 0.1 0.1 0.2 0.1 0.2 0.3 0.1 0.3\n")
    assert [row.line for row in read_all(root)[1]["P0003"].unread] == [1]
    later = read_all(root, release="1.5")[1]["P0003"]
    assert [obj.label for obj in later.objects] == ["container-crane"] and later.unread == ()


def test_tiles_of_mmrotate_know_their_scene(fake):
    found, read = read_all(fake("dota", layout="mmrotate"))
    scenes = Counter(item.scene for item in found.items)
    assert scenes == {"P0000": 4, "P0001": 4, "P0002": 1, "P0003": 1} and found.problems == ()
    assert "P0000__1024__376___76" in read
    cut = [obj for known in read.values() for obj in known.objects if obj.truncated]
    assert cut and not any(obj.difficult for obj in cut)


@pytest.mark.parametrize("name", ["labelTxt", "annfiles", "annotations/version1.0", "labelTxt-v1.0"])
def test_no_split_is_guessed_and_the_message_ends_with_the_command_that_reads_it(fake, tmp_path, monkeypatch, name):
    root = fake("dota", layout="unsplit")
    (root / "annotations").mkdir()
    (root / "labelTxt").rename(root / name)
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(cli.main, ["scan", "dota", "dota"])
    assert told.exit_code == 2 and "no folder of a split" in told.output
    command = commands_in(told.output)[-1]
    assert told.output.rstrip().endswith(f"`{command}`") and "--option split=train" in command
    assert CliRunner().invoke(cli.main, words_of(command)[1:]).exit_code == 0
    manifest = load_manifest(tmp_path / "DIR")
    assert list(manifest.sources["dota"].splits) == ["train"]
    found, read = read_all(root, "val", split="val")
    assert len(read) == 4 and found.problems == ()
    with pytest.raises(UserError, match=r"no split 'train'.*its splits are val"):
        read_all(root, split="val")


def test_the_split_that_was_said_changes_no_shard_of_a_split_that_the_folders_say(fake):
    assert converters.get("dota", split="val").options() == converters.get("dota").options()


def test_trainval_of_mmrotate_is_named_and_its_test_without_labels_is_not(fake, tmp_path):
    root = fake("dota", layout="mmrotate")
    (root / "train").rename(root / "trainval")
    (root / "val").rename(root / "test")
    for path in (root / "test" / "annfiles").iterdir():
        path.write_text("")
    with pytest.raises(UserError, match="in trainval, but no folder of a split") as caught:
        read_all(root)
    assert [words_of(command)[4] for command in commands_in(str(caught.value))] == [f"dota={root}/trainval"]
    assert len(read_all(root / "trainval", split="train")[1]) == 10


def test_a_split_that_is_not_there_is_a_mistake_with_a_way_on(fake, tmp_path, monkeypatch):
    root = fake("dota", release="1.5")
    shutil.rmtree(root / "val")
    monkeypatch.chdir(tmp_path)
    words = ["build", "dota", "--root", "dota=dota", "--option", "release=1.5", "--out", "DIR"]
    told = CliRunner().invoke(cli.main, words)
    assert told.exit_code == 2 and "has no val/images" in told.output
    command = commands_in(told.output)[-1]
    assert re.search(r"--option release=1.5 --set 'sources.0.splits=\[train\]'", command)
    assert CliRunner().invoke(cli.main, words_of(command)[1:]).exit_code == 0


def test_a_split_is_not_said_of_folders_that_say_it(fake):
    root = fake("dota")
    with pytest.raises(UserError, match="has folders of splits, so they are not all train") as caught:
        read_all(root, split="train")
    assert "--option" not in commands_in(str(caught.value))[0]


def test_text_goes_before_fractions(fake):
    root = fake("dota", layout="ultralytics")
    found = labels_of(root, "train")
    assert list(found) == ["labels/train_original", "labels/train"]
    assert choose_labels(found, "train", "1.0").form == "text"
    assert choose_labels({}, "train", "1.0") is None
