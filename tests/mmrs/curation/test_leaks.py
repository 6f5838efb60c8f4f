"""Training twins of evaluated images: the same bytes, other bytes of the same picture, turned ones; and none."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.curation.leaks import find_leaks
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from mmrs.source import SourceBuild
from tests.support.sources import ToySource

QUIET = Progress(quiet=True)


def scene(seed):
    """A picture with structure, so that it has a fingerprint."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (12, 16, 3), np.uint8)
    return Image.fromarray(pixels).resize((256, 192), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))


def stored(image, quality=92):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def built(folder, splits):
    """A data set of the toy source with the given JPEG bytes by split and name."""
    for split, pictures in splits.items():
        (folder / "raw" / split).mkdir(parents=True)
        for name, data in pictures.items():
            (folder / "raw" / split / f"{name}.jpg").write_bytes(data)
            (folder / "raw" / split / f"{name}.json").write_text('{"size": [256, 192], "objects": []}')
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}]})
    builds = [SourceBuild(ToySource(), folder / "raw", tuple(splits))]
    build(plan_build(builds, recipe, 1, QUIET), recipe, folder / "out", 1, QUIET)
    return ShardSet(folder / "out")


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("leaks")
    evaluated = {name: stored(scene(number)) for number, name in enumerate(["same", "saved-again", "turned", "new"])}
    trained = {
        "a": evaluated["same"],
        "b": stored(scene(1), quality=60),
        "c": stored(scene(2).transpose(Image.Transpose.ROTATE_180)),
        "d": stored(scene(9)),
    }
    # What another split holds was not learnt, whatever it shows.
    first = built(folder / "one", {"train": {"x": stored(scene(20))}, "test": evaluated})
    return first, built(folder / "two", {"train": trained, "test": {"e": evaluated["new"]}})


def test_twins_are_found_and_named(sets):
    found = find_leaks(sets[0], "test", sets[1], 1, QUIET)
    assert found.same_bytes == {"toy/test/same": "toy/train/a"}
    assert found.look_alike == {"toy/test/saved-again": "toy/train/b", "toy/test/turned": "toy/train/c"}
    assert found.images == {"toy/test/same", "toy/test/saved-again", "toy/test/turned"}


def test_a_data_set_is_looked_at_against_itself(sets):
    assert find_leaks(sets[0], "test", sets[0], 1, QUIET).images == frozenset()
    assert find_leaks(sets[1], "test", sets[0], 1, QUIET).images == frozenset()
