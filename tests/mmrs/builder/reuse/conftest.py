"""Small data sets to join and to cut."""

import pytest

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.progress import Progress
from tests.support.sources import ToySource, toy_build, write_toy

QUIET = Progress(quiet=True)


@pytest.fixture
def make(tmp_path):
    """A function that builds a data set of one toy source in several shards; `pictures` seeds its images."""

    def make(name, images=12, pictures=0, out=None, source=None, splits=("train", "test"), **recipe):
        root = tmp_path / "raw" / f"{name}-{images}-{pictures}"
        if not root.exists():
            write_toy(root, images=images, seed=pictures)
            # One image that the survey cannot use, and one row that a shard cannot.
            (root / "train" / "train0001.jpg").write_bytes(b"")
            (root / "train" / "train0002.json").write_text(
                '{"size": [64, 48], "objects": [["car", [900, 900, 990, 990]], ["car", [2, 2, 20, 20]]]}'
            )
        content = {"sources": [{"name": name}], "shard_bytes": 20_000, "quarantine_ceiling": 1, **recipe}
        checked = BuildRecipe.model_validate(content)
        place = out or tmp_path / name
        plan = plan_build([toy_build(root, source or ToySource(name=name), splits)], checked, 1, QUIET)
        build(plan, checked, place, 1, QUIET)
        return place

    return make
