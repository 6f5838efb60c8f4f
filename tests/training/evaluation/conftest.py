"""A small data set of boxes, and a model with random weights that has its tokenizer."""

import pytest

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from tests.support.models import save_tiny_model
from tests.support.sources import toy_build, write_toy


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder, quiet = tmp_path_factory.mktemp("evaluation"), Progress(quiet=True)
    write_toy(folder / "toy", images=12, seed=2)
    # No dialogue holds more than one object: most images have no text of all their objects, and are asked all the same.
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}], "max_objects_per_dialogue": 1})
    build(plan_build([toy_build(folder / "toy")], recipe, 1, quiet), recipe, folder / "out", 1, quiet)
    return ShardSet(folder / "out")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model"))
