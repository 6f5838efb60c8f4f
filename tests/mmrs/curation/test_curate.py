"""Curation of data sets that the build wrote, with planted copies."""

import json

import numpy as np
import orjson
import pytest
from PIL import Image

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.curation.guard import Policy
from mmrs.curation.known_copies import AliasTable
from mmrs.curation.report import CURATION_NAME, SUMMARY_NAME, describe_curation
from mmrs.curation.run import curate
from mmrs.errors import UserError
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from mmrs.source import SourceBuild
from mmrs.verify.dataset import verify_dataset
from tests.support.copies import built, picture, put
from tests.support.sources import ToySource

QUIET = Progress(quiet=True)


def leaks(folder):
    """Removal -> evaluated image, as the file says."""
    lines = [orjson.loads(line) for line in (folder / CURATION_NAME).read_bytes().splitlines()]
    return {line["id"]: line["evaluated"] for line in lines if line["kind"] == "removal"}


@pytest.fixture
def two_sources(tmp_path):
    """Source `one` (train and test) and `two` (train only); copies of one's test images in both training splits."""
    one, two = tmp_path / "one", tmp_path / "two"
    for number in range(6):
        put(one, "train", f"a{number}", picture(number))
        put(one, "test", f"t{number}", picture(100 + number))
        put(two, "train", f"b{number}", picture(200 + number))
    put(one, "train", "recompressed", picture(100), quality=40)
    put(two, "train", "turned", picture(101).transpose(Image.Transpose.ROTATE_90))
    put(two, "train", "mirrored", picture(102).transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((96, 96)))
    put(two, "train", "same", picture(103))
    put(two, "train", "centre", picture(999, 500).crop((30, 30, 470, 470)).resize((224, 224)))
    put(one, "test", "uncut", picture(999, 500))
    put(two, "train", "twin", picture(200), quality=50)
    sources = [ToySource(name="one"), ToySource(name="two", splits=("train",))]
    return built(tmp_path / "out", (one, two), sources)


LEAKS = {
    "one/train/recompressed": "one/test/t0",
    "two/train/turned": "one/test/t1",
    "two/train/mirrored": "one/test/t2",
    "two/train/same": "one/test/t3",
    "two/train/centre": "one/test/uncut",
}


def test_planted_leaks_are_all_found_and_nothing_else(two_sources):
    report = curate(two_sources, QUIET)
    assert leaks(two_sources) == LEAKS
    assert report.summary()["removals"] == {"one/train": 1, "two/train": 4}
    assert report.summary()["groups"] == 6
    assert report.summary()["links"] == {"bytes": 1, "original": 0, "scene": 0, "copy": 5, "centre": 1}


def test_every_removal_says_why(two_sources):
    curate(two_sources, QUIET)
    lines = [orjson.loads(line) for line in (two_sources / CURATION_NAME).read_bytes().splitlines()]
    reasons = {line["id"]: line["chain"][0]["reason"] for line in lines if line["kind"] == "removal"}
    assert reasons["two/train/same"] == "byte for byte the same as"
    assert "turned by 90 degrees" in reasons["two/train/turned"]
    assert "mirrored left-right" in reasons["two/train/mirrored"]
    assert reasons["two/train/centre"].startswith("cut from the same picture")
    twins = [line for line in lines if line["kind"] == "group" and "two/train/twin" in line["images"]]
    assert sorted(twins[0]["images"]) == ["two/train/b0", "two/train/twin"]


def test_sources_for_evaluation_only_win_over_training(two_sources):
    curate(two_sources, QUIET, Policy(frozenset({"one/train"})))
    assert leaks(two_sources) == {"one/train/recompressed": "one/test/t0"}
    summary = json.loads((two_sources / SUMMARY_NAME).read_bytes())
    assert summary["trained"] == ["one/train"]
    assert summary["groups_shared_by_evaluated_splits"] == {"one/test and two/train": 4}


def test_same_bytes_for_any_number_of_workers(two_sources):
    curate(two_sources, QUIET)
    first = [(two_sources / name).read_bytes() for name in (CURATION_NAME, SUMMARY_NAME)]
    curate(two_sources, QUIET, workers=2)
    assert [(two_sources / name).read_bytes() for name in (CURATION_NAME, SUMMARY_NAME)] == first


def test_tiles_of_one_scene_and_names_of_one_picture_belong_together(tmp_path):
    root = tmp_path / "toy"
    put(root, "train", "P1__0___0", picture(1))
    put(root, "train", "P1__512___0", picture(2))
    put(root, "train", "P2__0___0", picture(5))
    put(root, "test", "P2__512___0", picture(6))
    put(root, "train", "x-7", picture(3))
    put(root, "test", "y-7", picture(4))
    put(root, "test", "copy", picture(2), quality=50)
    names = {"toy": "[xy]-(?P<number>\\d+)", "other": "(?P<number>\\d+)"}
    table = {"pictures": {"seven": {"evidence": "test", "names": names}}}
    out = built(tmp_path / "out", [root], [ToySource()])
    report = curate(out, QUIET, aliases=AliasTable.model_validate(table))
    through_pixels_and_names = {
        "toy/train/P1__0___0": "toy/test/copy",
        "toy/train/P1__512___0": "toy/test/copy",
        "toy/train/x-7": "toy/test/y-7",
    }
    assert leaks(out) == through_pixels_and_names | {"toy/train/P2__0___0": "toy/test/P2__512___0"}
    assert "a tile of the same scene (toy/P1) as toy/train/P1__" in describe_curation(report, out, out)
    curate(out, QUIET, aliases=AliasTable.model_validate(table | {"numbered_per_split": ["toy"]}))
    assert leaks(out) == through_pixels_and_names


def meadow(river, seed=1, side=160):
    """A textured meadow with a river that only colour shows, at the columns `river`."""
    grey = np.asarray(picture(seed, side).convert("L"), np.float32)
    colours = np.stack([grey, grey + 12, grey], axis=-1)
    colours[:, river] = np.stack([grey, grey, grey + 62], axis=-1)[:, river]
    return Image.fromarray(np.clip(colours, 0, 255).astype(np.uint8))


def test_pictures_that_differ_in_colour_alone_are_no_copies(tmp_path):
    root = tmp_path / "toy"
    put(root, "train", "left", meadow(slice(20, 60)))
    put(root, "test", "right", meadow(slice(90, 130)))
    put(root, "test", "copy", meadow(slice(20, 60)), quality=40)
    out = built(tmp_path / "out", [root], [ToySource()])
    curate(out, QUIET)
    assert leaks(out) == {"toy/train/left": "toy/test/copy"}


def test_blank_images_are_not_copies_of_each_other(tmp_path):
    root = tmp_path / "toy"
    for number in range(4):
        put(root, "train", f"a{number}", Image.new("RGB", (64 + number, 64), (20, 30, 40)))
        put(root, "test", f"b{number}", Image.new("RGB", (80 + number, 64), (20, 30, 40)))
    out = built(tmp_path / "out", [root], [ToySource()])
    report = curate(out, QUIET)
    assert report.summary()["flat_images"] == 8
    assert leaks(out) == {}


def test_what_was_not_built_says_so(tmp_path):
    with pytest.raises(UserError, match="no finished data set"):
        curate(tmp_path / "nothing", QUIET)


@pytest.mark.parametrize("same_folder", [True, False])
def test_a_build_that_excludes_the_removals_has_no_leak_left(two_sources, tmp_path, same_folder):
    before = {path: path.stat().st_mtime_ns for path in two_sources.rglob("*.tar")}
    curate(two_sources, QUIET)
    out = two_sources if same_folder else tmp_path / "clean"
    result = rebuilt(out, tmp_path, two_sources / CURATION_NAME)
    stored = {row["id"] for split in ("train", "test") for row in ShardSet(out).table(split).to_pylist()}
    assert stored.isdisjoint(LEAKS)
    assert set(LEAKS.values()) <= stored
    assert {entry.id for entry in result.quarantine} == set(LEAKS)
    assert all("one/test/" in entry.reason for entry in result.quarantine)
    assert sum(part.excluded for source in result.manifest.sources.values() for part in source.splits.values()) == 5
    assert sum(part.quarantined_items for s in result.manifest.sources.values() for part in s.splits.values()) == 0
    if same_folder:
        untouched = [path for path, time in before.items() if path.stat().st_mtime_ns == time]
        assert [path.name for path in untouched] == ["test-00000-of-00001.tar"]
    report = curate(out, QUIET)
    assert (report.removals, report.summary()["removed_before"]) == ((), 5)
    assert "built without 5 images" in describe_curation(report, out, out)
    assert verify_dataset(out, 1, QUIET).findings == ()


def test_excluding_is_stable_under_repetition(two_sources, tmp_path):
    """The list that a clean data set's curation writes names the same images, so that no leak ever comes back."""
    curate(two_sources, QUIET)
    ids = []
    for _ in range(3):
        result = rebuilt(two_sources, tmp_path, two_sources / CURATION_NAME)
        ids.append((result.manifest.id, result.rebuilt > 0))
        curate(two_sources, QUIET)
    assert ids == [(ids[0][0], True), (ids[0][0], False), (ids[0][0], False)]


def rebuilt(out, root, *lists):
    sources = [ToySource(name="one"), ToySource(name="two", splits=("train",))]
    builds = [SourceBuild(source, root / source.name, source.splits) for source in sources]
    recipe = BuildRecipe.model_validate(
        {"exclude": lists, "quarantine_ceiling": 0, "sources": [{"name": source.name} for source in sources]}
    )
    return build(plan_build(builds, recipe, 1, QUIET), recipe, out, 1, QUIET)


@pytest.mark.parametrize("name", [CURATION_NAME, SUMMARY_NAME])
def test_files_of_others_are_not_written_over(two_sources, tmp_path, name):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / name).write_text("my museum\n")
    with pytest.raises(UserError, match=f"{name} is no outcome of `mmrs curate`"):
        curate(two_sources, QUIET, out=mine)
    assert [(path.name, path.read_text()) for path in mine.iterdir()] == [(name, "my museum\n")]
