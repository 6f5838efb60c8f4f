"""Samples of several images: none of them on both sides of a split, copies where all of them are."""

import json

import numpy as np
import pytest

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.curation.image_table import load_rows
from mmrs.curation.leaks import find_leaks
from mmrs.curation.run import curate
from mmrs.engines.processes import ProcessPool
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from tests.support.pairs import PairSource
from tests.support.sources import noise_image, toy_build

QUIET = Progress(quiet=True)
GENERATOR = np.random.default_rng(11)
# Different pictures by letter.
PICTURES = {letter: noise_image(GENERATOR, (96, 80)) for letter in "abcdefghijkl"}
SPLITS = {
    # "shared" has a test image as its second one, "swapped" all of a test pair the other way round.
    "train": {"alone": "ab", "shared": "cd", "swapped": "fe", "single": "g", "again": "ab", "half": "ah"},
    "test": {"one": "id", "pair": "ef", "far": "jk"},
}


@pytest.fixture(scope="module", params=["L0", "L1"])
def out(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("curated")
    for split, samples in SPLITS.items():
        (folder / "pairs" / split).mkdir(parents=True)
        for stem, letters in samples.items():
            names = [f"{stem}-{place}.jpg" for place in range(len(letters))]
            for name, letter in zip(names, letters, strict=True):
                (folder / "pairs" / split / name).write_bytes(PICTURES[letter])
            captions = ["A field."]
            content = {"images": names, "captions": captions, "questions": [["Did it change?", "yes"]]}
            (folder / "pairs" / split / f"{stem}.json").write_text(json.dumps(content))
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}], "validation": request.param})
    plan = plan_build([toy_build(folder / "pairs", PairSource())], recipe, 1, QUIET)
    build(plan, recipe, folder / "out", 1, QUIET)
    return folder / "out"


def test_rows_are_images_and_those_of_a_sample_follow_each_other(out):
    shards = ShardSet(out)
    rows = load_rows(shards, ProcessPool(1), QUIET)
    samples = [len(letters) for samples in SPLITS.values() for letters in samples.values()]
    assert len(rows) == sum(samples) and int((rows.number == 0).sum()) == len(samples)
    for row in range(len(rows)):
        stem, split = rows.stem(row), rows.split(row)
        assert rows.image(shards, row) == PICTURES[SPLITS[split][stem][rows.number[row]]]
    assert not rows.flat.any()
    assert len(rows.first_images()) == len(samples)


def test_a_sample_with_any_image_in_a_test_sample_must_go(out):
    report = curate(out, QUIET)
    removed = {report.rows.ids[one.row]: report.reason(one) for one in report.removals}
    assert set(removed) == {"toy/train/shared", "toy/train/swapped"}
    assert "image 2 of 2 is byte for byte the same as image 2 of 2" in removed["toy/train/shared"]
    assert removed["toy/train/shared"].endswith("that shares an image with toy/test/one")
    summary = report.summary()
    assert summary["images"] == 9 and summary["removals"] == {"toy/train": 2}
    # "alone" and "again" have all their images in common, in order; "half" shares one of them.
    assert summary["links"]["bytes"] == 1 and summary["links"]["part"] >= 3


def test_an_evaluation_is_told_of_pairs_that_the_model_has_seen_a_part_of(out):
    shards = ShardSet(out)
    assert find_leaks(shards, "test", shards, 1, QUIET).images == {"toy/test/one", "toy/test/pair"}
