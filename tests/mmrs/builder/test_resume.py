"""A second build writes what changed, and says of every shard why."""

import os
import random
from dataclasses import replace

import pytest

from mmrs.builder.parts import write
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.resume import existing_shards
from mmrs.builder.run import build, plan_build
from mmrs.builder.state import StoredState, state_path
from mmrs.builder.summary import describe_findings
from mmrs.errors import RunFailure
from mmrs.progress import Progress
from mmrs.shards.manifest import done_path, index_path
from mmrs.source import Discovery
from mmrs.storage.local import LocalPlace
from mmrs.storage.place import LOCK_NAME
from tests.support.sources import ToySource, toy_build, write_toy

QUIET = Progress(quiet=True)
SMALL = BuildRecipe.model_validate({"sources": [{"name": "toy"}], "shard_bytes": 20_000})


@pytest.fixture
def toy(tmp_path):
    write_toy(tmp_path / "toy", images=12)
    return tmp_path / "toy"


def run(toy, recipe=SMALL, source=None):
    """Builds; returns {shard: reason} of what was written and the words for it."""
    told = []
    plan = plan_build([toy_build(toy, source)], recipe, 1, QUIET)
    build(plan, recipe, toy.parent / "out", 1, QUIET, announce=told.append)
    (findings,) = told
    assert existing_shards(plan.tasks, LocalPlace(toy.parent / "out")).missing == ()
    return {task.path: (reason.what, reason.at) for task, reason in findings.missing}, describe_findings(findings)


def tars(toy):
    return (toy.parent / "out").glob("toy/*.tar")


def one(reasons):
    (reason,) = set(reasons.values())
    return reason


def test_the_first_run_gives_no_reasons_and_the_second_has_none(toy):
    reasons, words = run(toy)
    assert one(reasons) == ("not written yet", ())
    assert words == f"{len(reasons)} of {len(reasons)} shards to write"
    assert run(toy) == ({}, f"0 of {len(reasons)} shards to write")


def test_a_touched_image_and_an_edited_annotation_are_named(toy):
    everything, _ = run(toy)
    os.utime(toy / "train" / "train0003.jpg", (1, 1))
    reasons, words = run(toy)
    assert len(reasons) == 1 and one(reasons) == ("source file changed", ("train/train0003.jpg",))
    train = sum("train" in path for path in everything)
    assert words.endswith(f"  toy/train: 1 of {train} shards: source file changed: train/train0003.jpg")
    path = toy / "test" / "test0001.json"
    path.write_text(path.read_text() + "\n")
    reasons, _ = run(toy)
    assert len(reasons) == 1 and one(reasons) == ("source file changed", ("test/test0001.json",))


def test_many_causes_are_counted(toy):
    run(toy)
    for image in (toy / "train").glob("*.jpg"):
        os.utime(image, (1, 1))
    reasons, words = run(toy)
    assert all("train" in path for path in reasons)
    assert "source file changed: train/train0" in words and words.endswith(" and 9 more")


@pytest.mark.parametrize(
    ("recipe", "source", "words"),
    [
        ({"dialect": "mmrs1m"}, None, "text changed: dialect mmrs 3 True -> mmrs1m 2 False"),
        ({"per_class_prompts": False}, None, "text changed: per_class_prompts True -> False"),
        ({"validation": "L2"}, None, "validation changed: L1 -> L2"),
        ({}, ToySource(revision=2), "converter changed: toy 1 -> toy 2"),
        ({}, ToySource(tile_pixels=64), "option of the converter changed: tile_pixels None -> 64"),
    ],
)
def test_a_changed_recipe_or_converter_says_what_changed(toy, recipe, source, words):
    run(toy)
    reasons, told = run(toy, SMALL.model_copy(update=recipe), source)
    assert {path for path in reasons} == {path.relative_to(toy.parent / "out").as_posix() for path in tars(toy)}
    assert one(reasons)[0] == words
    assert f": {words}" in told


def test_a_new_image_says_so(toy):
    run(toy)
    for suffix in ("jpg", "json"):
        (toy / "test" / f"test0009.{suffix}").write_bytes((toy / "test" / f"test0000.{suffix}").read_bytes())
    reasons, words = run(toy)
    assert reasons and all("test" in path for path in reasons)
    assert {what for what, _ in reasons.values()} <= {
        "other images in it: 1 new, 0 gone",
        "other images in it: 1 new, 1 gone",
        "images before it were added or removed",
        "the split has 2 shards now, 1 before",
    }
    assert "toy/train" not in words


def test_another_number_of_shards(toy):
    everything, _ = run(toy)
    train = sum("train" in path for path in everything)
    reasons, words = run(toy, SMALL.model_copy(update={"shard_bytes": 10**6}))
    assert reasons["toy/train-00000-of-00001.tar"][0] == f"the split has 1 shards now, {train} before"
    assert "files of shards that are no longer in the plan will be removed" in words


def test_an_unreadable_state_of_another_number_of_shards_is_named(toy):
    run(toy)
    for path in (toy.parent / "out").rglob("train*.task"):
        path.write_text('{"state": 1, "digest": "", "parts": {}, "samples": [["only", "three", "parts"]]}')
    reasons, _ = run(toy, SMALL.model_copy(update={"shard_bytes": 10**6}))
    what, (path,) = reasons["toy/train-00000-of-00001.tar"]
    assert what == "its state cannot be read" and path.startswith(".build/toy/train-")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda out, path: (out / path).unlink(), "file is missing"),
        (lambda out, path: (out / index_path(path)).write_bytes(b"cut"), "file has 3 bytes instead of "),
        (lambda out, path: (out / done_path(path)).unlink(), "not finished"),
        (lambda out, path: (out / done_path(path)).write_text("{"), "its done-file cannot be read"),
        (lambda out, path: (out / state_path(path)).write_text("0" * 64), "its state cannot be read"),
        (lambda out, path: (out / state_path(path)).write_text('{"state": 0}'), "made by another version of mmrs"),
        (lambda out, path: (out / state_path(path)).unlink(), "it is not known how it was made"),
    ],
)
def test_damage_is_named_and_mended(toy, damage, reason):
    everything, _ = run(toy)
    path = sorted(everything)[1]
    before = {name: (toy.parent / "out" / name).read_bytes() for name in everything}
    damage(toy.parent / "out", path)
    reasons, _ = run(toy)
    assert reasons.keys() == {path} and reasons[path][0].startswith(reason)
    assert before == {name: (toy.parent / "out" / name).read_bytes() for name in everything}


def test_the_state_of_a_shard_follows_all_that_it_depends_on(toy):
    plan = plan_build([toy_build(toy)], SMALL, 1, QUIET)
    task = plan.tasks[0]
    assert StoredState.of(task) == StoredState.of(replace(task))
    assert StoredState.from_json(StoredState.of(task).to_json()) == StoredState.of(task)
    changes = [
        {"source": ToySource(revision=9)}, {"split": "other"}, {"first_ordinal": 7}, {"suffix": "png"},
        {"validation": "L2"}, {"samples": task.samples[1:]}, {"samples": task.samples[::-1]},
        {"render": replace(task.render, max_objects_per_dialogue=3)},
    ]  # fmt: skip
    digests = {StoredState.of(replace(task, **change)).digest for change in changes}
    assert len(digests | {StoredState.of(task).digest}) == len(changes) + 1


def test_the_order_of_discovery_does_not_matter(toy, monkeypatch):
    run(toy)
    before = {path: path.read_bytes() for path in (toy.parent / "out").rglob("*.*") if path.is_file()}
    sorted_items = ToySource.discover

    def shuffled(self, root, split):
        items = list(sorted_items(self, root, split).items)
        random.Random(1).shuffle(items)
        return Discovery(tuple(items))

    monkeypatch.setattr(ToySource, "discover", shuffled)
    assert run(toy)[0] == {}
    for path in (toy.parent / "out").rglob("*.done.json"):
        path.unlink()
    assert run(toy)[0].keys()
    assert before == {path: path.read_bytes() for path in before}


def test_a_worker_of_a_build_that_lost_its_place_publishes_nothing(toy, tmp_path, monkeypatch):
    """An orphan on another machine, or a folder that this machine sees without seeing that of the build."""
    plan = plan_build([toy_build(toy)], SMALL, 1, QUIET)
    real = write.publish_shard
    published = []

    def overtaken(task, place, token):
        if task is plan.tasks[2]:
            (place.root / LOCK_NAME).write_text("another build")
        published.append(task.path)
        return real(task, place, token)

    monkeypatch.setattr(write, "publish_shard", overtaken)
    with pytest.raises(RunFailure, match="not held by this build"):
        build(plan, SMALL, tmp_path / "out", 1, QUIET)
    assert len(published) == 3
    assert {path.name for path in (tmp_path / "out").rglob("*.done.json")} == {
        done_path(task.path).partition("/")[2] for task in plan.tasks[:2]
    }
    assert not (tmp_path / "out" / "manifest.json").exists()
