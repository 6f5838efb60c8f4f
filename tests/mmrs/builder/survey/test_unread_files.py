"""What nothing reads of a source: names on disk against what a converter says it looked at."""

from __future__ import annotations

import os
from dataclasses import replace

import orjson
import pytest

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.builder.summary import describe_plan, plan_facts
from mmrs.builder.survey.unread_files import Unread, UnreadFiles, find_unread, walk_names
from mmrs.progress import Progress
from tests.support.sources import ToySource, toy_build, write_toy

QUIET = Progress(quiet=True)


def write(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")


def unread(root, *looked_at, **options):
    return find_unread(root, [str(root / path) for path in looked_at], **options)


def test_an_unread_folder_is_one_entry_with_its_kinds_and_loose_files_go_by_suffix(tmp_path):
    write(tmp_path, "train/a.jpg", "train/a.txt", "train/b.txt", "train/deep/c.txt", "list.txt")
    write(tmp_path, "val/a/1.JPG", "val/a/2.jpg", "val/labels.xml", "val/README")
    found = unread(tmp_path, "train/a.jpg")
    assert found.files == (
        UnreadFiles("val/", 4, {".jpg": 2, ".xml": 1, "": 1}),
        UnreadFiles("train/*.txt", 2, {".txt": 2}),
        UnreadFiles("list.txt", 1, {".txt": 1}),
        UnreadFiles("train/deep/", 1, {".txt": 1}),
    )
    assert found.lines() == [
        "not looked at: val/ (4 files: 2 .jpg, 1 without suffix, 1 .xml)",
        "not looked at: train/*.txt (2 files)",
        "not looked at: list.txt",
        "not looked at: train/deep/ (1 file: 1 .txt)",
    ]


def test_what_is_read_everywhere_leaves_nothing(tmp_path):
    write(tmp_path, "a/b/c.png", "a/b/c.txt", "a/d.xml")
    assert unread(tmp_path, "a/b/c.png", "a/b/c.txt", "a/d.xml") == Unread()


def test_junk_and_our_own_data_sets_are_no_part_of_a_source(tmp_path):
    write(tmp_path, "a.jpg", ".DS_Store", "._a.jpg", ".git/config", "b/Thumbs.db", "__MACOSX/._a.jpg", "__MACOSX/x.jpg")
    write(tmp_path, "shards/manifest.json", "shards/quarantine.jsonl", "shards/toy/train-00000-of-00001.tar")
    write(tmp_path, "unfinished/toy/train-00000-of-00001.done.json", "unfinished/toy/train-00000-of-00001.tar")
    write(tmp_path, "out/half.tar")
    assert unread(tmp_path, "a.jpg", skipped=(tmp_path / "out",)) == Unread()
    assert [entry.place for entry in unread(tmp_path, "a.jpg").files] == ["out/"]


def test_an_archive_is_named_unless_its_folder_is_read_beside_it(tmp_path):
    write(tmp_path, "train/a.jpg", "val/b.jpg", "Train.zip", "train.part2.rar", "val.tar.gz", "test.7z", "training.zip")
    found = unread(tmp_path, "train/a.jpg")
    assert {entry.place for entry in found.files} == {"val/", "val.tar.gz", "test.7z", "training.zip"}


def test_the_root_may_be_relative_a_link_or_one_of_its_own_folders(tmp_path, monkeypatch):
    write(tmp_path, "set/train/a.jpg", "set/train/b.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "set")
    monkeypatch.chdir(tmp_path / "set")
    looked_at = [str(tmp_path / "set" / "train" / "a.jpg"), os.path.join("train", "b.jpg")]
    for root in (tmp_path / "set", tmp_path / "link", tmp_path / "set" / "train", *map(type(tmp_path), (".", "train"))):
        assert find_unread(root, looked_at) == Unread(), root


def test_links_to_folders_are_not_followed(tmp_path):
    write(tmp_path, "images/a.jpg")
    (tmp_path / "images" / "again").symlink_to(tmp_path / "images")
    (tmp_path / "used").symlink_to(tmp_path / "images")
    assert [entry.place for entry in unread(tmp_path, "images/a.jpg", "used/a.jpg").files] == ["images/again"]


def test_the_report_is_bounded(tmp_path):
    write(tmp_path, "a.jpg", *(f"{number}/{name}" for number in range(20) for name in "xyz"))
    found = unread(tmp_path, "a.jpg")
    assert sum(entry.files for entry in found.files) == 60
    assert len(found.lines()) == 9 and "and 12 more places with 36 files" in found.lines()[-1]
    part = unread(tmp_path, "a.jpg", most_names=31)
    assert not part.is_whole and sum(entry.files for entry in part.files) == 30
    assert "and what lies behind" in part.lines()[-1]


def test_a_closed_folder_is_named(tmp_path, monkeypatch):
    write(tmp_path, "a.jpg", "closed/x")
    listed = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert unread(tmp_path, "a.jpg").lines() == ["not looked at: closed/ (cannot be listed)"]


def test_folders_come_before_what_they_hold(tmp_path):
    write(tmp_path, "b/c/1", "b/2", "b-c/3", "a/4")
    assert [names.folder for names in walk_names(tmp_path)] == ["", "a", "b", "b/c", "b-c"]


@pytest.fixture
def toy(tmp_path):
    root = tmp_path / "data"
    write_toy(root, images=6)
    write(root, "val/1.jpg", "val/2.jpg", "others.csv")
    return root


def test_a_plan_names_what_is_not_read_and_a_split_that_is_not_asked_for(toy):
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}]})
    plan = plan_build([toy_build(toy)], recipe, 1, QUIET)
    lines = ["toy: not looked at: val/ (2 files: 2 .jpg)", "toy: not looked at: others.csv"]
    assert describe_plan(plan).splitlines()[-2:] == lines
    part = plan_build([replace(toy_build(toy, splits=("train",)), other_splits=("test",))], recipe, 1, QUIET)
    assert describe_plan(part).splitlines()[-3:] == ["toy: not asked for: split test: 2 images", *lines]
    facts = orjson.loads(orjson.dumps(plan_facts(part)))["unread"]["toy"]
    assert facts["splits"] == {"test": 2} and [one["place"] for one in facts["files"]] == ["val/", "others.csv"]


def test_what_another_source_of_the_build_reads_is_read(toy):
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}, {"name": "other"}]})
    write_toy(toy / "val" / "more", images=3)
    both = plan_build([toy_build(toy), toy_build(toy / "val" / "more", ToySource(name="other"))], recipe, 1, QUIET)
    assert [str(entry) for entry in both.unread["toy"].files] == ["val/*.jpg (2 files)", "others.csv"]
    assert "other" not in both.unread


def test_no_byte_of_a_data_set_depends_on_it(toy, tmp_path):
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}]})
    ids = []
    for out in ("with", "without"):
        plan = plan_build([toy_build(toy)], recipe, 1, QUIET)
        assert bool(plan.unread) == (out == "with")
        build(plan, recipe, tmp_path / out, 1, QUIET)
        ids.append((tmp_path / out / "manifest.json").read_bytes())
        for path in (toy / "val" / "1.jpg", toy / "val" / "2.jpg", toy / "others.csv"):
            path.unlink(missing_ok=True)
    assert ids[0] == ids[1]
