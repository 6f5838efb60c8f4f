"""Rows come from the indexes alone where these have fingerprints; images are read only where they have none."""

import pytest

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.curation.image_table import load_rows, open_reduced
from mmrs.curation.search import bit_distance
from mmrs.engines.processes import ProcessPool
from mmrs.errors import RunFailure
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from tests.support.sources import toy_build, write_toy

QUIET = Progress(quiet=True)


def build_set(root, level):
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}], "shard_bytes": 6000, "validation": level})
    build(plan_build([toy_build(root / "toy")], recipe, 1, QUIET), recipe, root / level, 1, QUIET)
    return ShardSet(root / level)


@pytest.fixture
def shards(tmp_path):
    write_toy(tmp_path / "toy", images=6, size=(1000, 700))
    return build_set(tmp_path, "L0")


def test_fingerprints_are_made_where_the_index_has_none(shards):
    rows = load_rows(shards, ProcessPool(1), QUIET)
    assert len(rows) == 8
    assert len(shards.manifest.shards) > 2
    assert not rows.flat.any()
    assert rows.hashes().shape == rows.hashes(centre=True).shape == (8, 4)
    for row in range(len(rows)):
        assert rows.record(shards, row).id == rows.ids[row]
        assert rows.record(shards, row).image.sha256 == rows.sha256[row]


def test_fingerprints_of_the_index_are_those_of_the_stored_images(shards, tmp_path, monkeypatch):
    """What the build hashes while it validates is what curation would make: JPEGs pass through, at any level."""
    made = load_rows(shards, ProcessPool(1), QUIET)
    for level in ("L1", "L2"):
        other = build_set(tmp_path, level)
        monkeypatch.setattr(ShardSet, "read", lambda *_: pytest.fail("an image was read"))
        rows = load_rows(other, ProcessPool(1), QUIET)
        monkeypatch.undo()
        assert rows.ids == made.ids
        distance = bit_distance(rows.hashes(), made.hashes())
        # The toy's pictures are smooth: the signs of their higher frequencies are those of the rounding.
        assert (distance == 0).all() if level == "L1" else (distance < 64).all()


def test_names(shards):
    rows = load_rows(shards, ProcessPool(1), QUIET)
    row = rows.ids.index("toy/test/test0001")
    assert (rows.source(row), rows.split(row), rows.stem(row), rows.scene(row)) == ("toy", "test", "test0001", None)


def test_a_broken_image_names_its_record():
    with pytest.raises(RunFailure, match="image of a/b/c cannot be decoded"):
        open_reduced(b"no image", "L", 64, "a/b/c")
