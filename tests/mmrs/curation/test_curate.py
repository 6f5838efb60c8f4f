"""Curation of data sets that the build wrote, with planted copies."""

import io
import json

import numpy as np
import orjson
import pytest
from PIL import Image

from mmrs.build.recipe import BuildRecipe
from mmrs.build.run import build, plan_build
from mmrs.curation.aliases import AliasTable
from mmrs.curation.guard import Policy
from mmrs.curation.report import CURATION_NAME, SUMMARY_NAME, describe, removed_ids
from mmrs.curation.run import curate
from mmrs.errors import UserError
from mmrs.progress import Progress
from mmrs.source import SourceBuild
from tests.support.sources import ToySource

QUIET = Progress(quiet=True)


def picture(seed, side=160):
    rng = np.random.default_rng(seed)
    total = np.zeros((side, side, 3))
    for cells in (3, 6, 12, 24):
        layer = rng.normal(0, 1, (cells, cells, 3)) * 20
        channels = [Image.fromarray(layer[..., band].astype(np.float32)).resize((side, side)) for band in range(3)]
        total += np.stack([np.asarray(channel) for channel in channels], axis=-1)
    return Image.fromarray(np.clip(128 + total, 0, 255).astype(np.uint8))


def put(root, split, stem, image, quality=90):
    folder = root / split
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    (folder / f"{stem}.jpg").write_bytes(buffer.getvalue())
    content = {"size": image.size, "objects": [["car", [5, 5, 40, 40]]]}
    (folder / f"{stem}.json").write_text(json.dumps(content))


def built(out, roots, sources, seed=0):
    builds = [SourceBuild(source, root, source.splits) for source, root in zip(sources, roots, strict=True)]
    recipe = BuildRecipe.model_validate(
        {"seed": seed, "quarantine_ceiling": 1, "sources": [{"name": source.name} for source in sources]}
    )
    build(plan_build(builds, recipe, 1, QUIET), recipe, out, 1, QUIET)
    return out


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
    assert removed_ids(two_sources) == LEAKS
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
    curate(two_sources, QUIET, Policy(evaluation_only=frozenset({"two"})))
    assert removed_ids(two_sources) == {"one/train/recompressed": "one/test/t0"}
    summary = json.loads((two_sources / SUMMARY_NAME).read_bytes())
    assert summary["policy"]["evaluation_only"] == ["two"]
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
    assert removed_ids(out) == through_pixels_and_names | {"toy/train/P2__0___0": "toy/test/P2__512___0"}
    assert "a tile of the same scene (toy/P1) as toy/train/P1__" in describe(report)
    curate(out, QUIET, aliases=AliasTable.model_validate(table | {"numbered_per_split": ["toy"]}))
    assert removed_ids(out) == through_pixels_and_names


def test_blank_images_are_not_copies_of_each_other(tmp_path):
    root = tmp_path / "toy"
    for number in range(4):
        put(root, "train", f"a{number}", Image.new("RGB", (64 + number, 64), (20, 30, 40)))
        put(root, "test", f"b{number}", Image.new("RGB", (80 + number, 64), (20, 30, 40)))
    out = built(tmp_path / "out", [root], [ToySource()])
    report = curate(out, QUIET)
    assert report.summary()["flat_images"] == 8
    assert removed_ids(out) == {}


def test_removals_of_another_build_are_refused(two_sources, tmp_path):
    curate(two_sources, QUIET)
    roots, sources = [tmp_path / "one"], [ToySource(name="one")]
    built(two_sources, roots, sources, seed=1)
    with pytest.raises(UserError, match="mmrs curate"):
        removed_ids(two_sources)


def test_what_was_not_curated_says_so(two_sources, tmp_path):
    with pytest.raises(UserError, match="mmrs curate"):
        removed_ids(two_sources)
    with pytest.raises(UserError, match="no finished data set"):
        curate(tmp_path / "nothing", QUIET)
