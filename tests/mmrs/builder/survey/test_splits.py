"""The survey: the same plan whether headers are read here or in other processes, which start only where they pay."""

from __future__ import annotations

import pytest

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import plan_build
from mmrs.builder.state import StoredState
from mmrs.builder.survey import splits
from mmrs.progress import Progress
from tests.support.sources import toy_build, write_toy


def test_headers_read_by_other_processes_give_the_same_plan(tmp_path, monkeypatch):
    write_toy(tmp_path, images=12)
    (tmp_path / "train" / "train0003.jpg").write_bytes(b"no image")
    recipe, quiet = BuildRecipe.model_validate({"sources": [{"name": "toy"}]}), Progress(quiet=True)
    alone = plan_build([toy_build(tmp_path)], recipe, 2, quiet)
    monkeypatch.setattr(splits, "_IMAGES_PER_TASK", 3)
    monkeypatch.setattr(splits, "pays", lambda seconds, items: True)
    shared = plan_build([toy_build(tmp_path)], recipe, 2, quiet)
    assert [StoredState.of(task) for task in shared.tasks] == [StoredState.of(task) for task in alone.tasks]
    assert sum(len(task.samples) for task in shared.tasks) == 15


@pytest.mark.parametrize(
    ("microseconds", "items", "worth"),
    [(15, 10**6, False), (1000, 1000, False), (1000, 100_000, True), (60, 10**6, True), (60, 10_000, False)],
)
def test_processes_start_for_dear_headers_and_many_of_them(microseconds, items, worth):
    assert splits.pays(microseconds / 1e6, items) == worth
