"""Which samples a run sees: those of the splits that its data set was built to train on, or of the named ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.errors import UserError
from mmrs.progress import Progress
from tests.support.sources import toy_build, write_toy
from tests.training.micro import make_config
from training.data.open import open_training_selection
from training.data.planning.selection import Selection, select
from training.data.planning.summary import splits_of

QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    write_toy(folder, images=9)
    return folder


def built(toy: Path, out: Path, train_splits: Sequence[str]) -> Path:
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}], "shard_bytes": 20_000})
    source = replace(toy_build(toy), train_splits=tuple(train_splits))
    build(plan_build([source], recipe, 1, QUIET), recipe, out, 1, QUIET)
    return out


def content(selection: Selection) -> set[tuple[str, bytes]]:
    return {(selection.sample_id(row), selection.image(row)) for row in range(len(selection))}


def test_without_names_the_training_splits_of_the_build_are_read(toy, tmp_path):
    usual = built(toy, tmp_path / "usual", ["train"])
    assert select([usual]).parts == ("toy/train",)
    assert content(select([usual])) == content(select([usual], ["train"]))
    both = built(toy, tmp_path / "both", ["train", "test"])
    parts = [content(select([both], [split])) for split in ("train", "test")]
    everything = select([both])
    assert everything.parts == ("toy/test", "toy/train")
    assert len(everything) == 12 == len(content(everything))
    assert content(everything) == parts[0] | parts[1]


def test_named_splits_are_taken_whatever_they_were_built_for(toy, tmp_path):
    usual = built(toy, tmp_path / "usual", ["train"])
    assert select([usual], ["test"]).parts == ("toy/test",)
    assert content(select([usual], ["test", "train"])) == content(select([usual], ["train", "test"]))
    assert len(select([usual], ["test", "train"])) == 12


def test_what_is_not_there_is_named(toy, tmp_path):
    usual, nothing = built(toy, tmp_path / "usual", ["train"]), built(toy, tmp_path / "nothing", [])
    with pytest.raises(UserError, match=r"split 'val'.*toy/test, toy/train"):
        select([usual], ["train", "val"])
    with pytest.raises(UserError, match=r"no split 'val' or 'dev'; it has toy/test, toy/train"):
        select([usual], ["val", "dev"])
    with pytest.raises(UserError, match=r"nothing to train on; it has toy/test, toy/train.*data\.splits"):
        select([nothing])


def test_a_source_for_evaluation_only_is_not_trained_on(toy, tmp_path):
    nothing = built(toy, tmp_path / "nothing", [])
    with pytest.raises(UserError, match=r"toy for evaluation.*train_splits=\[train\]"):
        open_training_selection(make_config(tmp_path, nothing, tmp_path, data={"splits": "train"}))


def test_a_held_out_split_is_not_trained_on(toy, tmp_path):
    both = built(toy, tmp_path / "both", ["train", "test"])
    with pytest.raises(UserError, match=r"held_out.split=test: the run trains on toy/test"):
        open_training_selection(make_config(tmp_path, both, tmp_path, held_out={"split": "test"}))
    config = make_config(tmp_path, both, tmp_path, held_out={"split": "test"}, data={"splits": "train"})
    assert open_training_selection(config).parts == ("toy/train",)


def test_the_plan_names_splits_and_where_not_all_sources_have_them():
    assert splits_of(["a/train", "b/train"]) == "train"
    assert splits_of(["a/test", "a/train", "b/train", "c/train", "c/test"]) == "test (a, c), train"
