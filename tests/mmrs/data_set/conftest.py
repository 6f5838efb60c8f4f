"""A small data set of several shards, in a folder."""

import pytest

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.progress import Progress
from tests.support.sources import toy_build, write_toy


@pytest.fixture(scope="module")
def location(tmp_path_factory):
    folder, quiet = tmp_path_factory.mktemp("data"), Progress(quiet=True)
    write_toy(folder / "toy", images=23, seed=2)
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}], "shard_bytes": 20_000})
    build(plan_build([toy_build(folder / "toy")], recipe, 1, quiet), recipe, folder / "out", 1, quiet)
    return folder / "out"
