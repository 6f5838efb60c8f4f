"""Rows come from the indexes alone where these have fingerprints; images are read only where they have none."""

import numpy as np
import pyarrow as pa
import pytest

from mmrs.build.recipe import BuildRecipe
from mmrs.build.run import build, plan_build
from mmrs.curation import rows as rows_module
from mmrs.curation.rows import load_rows, open_grey
from mmrs.errors import RunFailure
from mmrs.imaging.hashing import FINGERPRINT_BYTES
from mmrs.progress import Progress
from mmrs.shards.index import read_index
from mmrs.shards.reader import ShardSet
from tests.support.sources import toy_build, write_toy

QUIET = Progress(quiet=True)


@pytest.fixture
def shards(tmp_path):
    write_toy(tmp_path / "toy", images=6)
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}], "shard_bytes": 6000, "validation": "L0"})
    build(plan_build([toy_build(tmp_path / "toy")], recipe, 1, QUIET), recipe, tmp_path / "out", 1, QUIET)
    return ShardSet(tmp_path / "out")


def test_fingerprints_are_made_where_the_index_has_none(shards):
    rows = load_rows(shards, 1, QUIET)
    assert len(rows) == 8
    assert len(shards.manifest.shards) > 2
    assert not rows.flat.any()
    assert rows.hashes().shape == rows.hashes(centre=True).shape == (8, 4)
    for row in range(len(rows)):
        assert rows.record(shards, row).id == rows.ids[row]
        assert rows.record(shards, row).image.sha256 == rows.sha256[row]


def test_fingerprints_of_the_index_are_taken_without_reading_images(shards, monkeypatch):
    values = np.random.default_rng(0).bytes(FINGERPRINT_BYTES)

    def with_column(path):
        table = read_index(path)
        if "fingerprint" in table.column_names:
            table = table.drop_columns("fingerprint")
        return table.append_column("fingerprint", pa.array([values] * len(table), pa.binary(FINGERPRINT_BYTES)))

    monkeypatch.setattr(rows_module, "read_index", with_column)
    monkeypatch.setattr(ShardSet, "read", lambda *_: pytest.fail("an image was read"))
    rows = load_rows(shards, 1, QUIET)
    assert {row.tobytes() for row in rows.fingerprints} == {values}


def test_names(shards):
    rows = load_rows(shards, 1, QUIET)
    row = rows.ids.index("toy/test/test0001")
    assert (rows.source(row), rows.split(row), rows.stem(row), rows.scene(row)) == ("toy", "test", "test0001", None)


def test_a_broken_image_names_its_record():
    with pytest.raises(RunFailure, match="image of a/b/c cannot be decoded"):
        open_grey(b"no image", 64, "a/b/c")
