"""Lists of images that a build leaves out."""

import json
from collections import Counter

import pytest

from mmrs.builder.exclude import load_exclusions
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.errors import UserError
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from tests.support.sources import ToySource, toy_build, write_toy

QUIET = Progress(quiet=True)


def write(path, *lines):
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_removals_and_lines_of_ones_own_are_used_and_nothing_else(tmp_path):
    first = write(
        tmp_path / "a.jsonl",
        {"kind": "removal", "id": "toy/train/a", "reason": "leaks toy/test/b", "chain": []},
        {"kind": "finding", "id": "toy/train/b", "level": "error"},
        {"kind": "group", "images": ["toy/train/c"]},
        "",
        {"id": "toy/train/d"},
    )
    second = write(tmp_path / "b.jsonl", {"id": "toy/train/a", "reason": "later"}, {"id": "toy/test/e", "reason": "no"})
    assert load_exclusions([first, second]) == {
        "toy/train/a": "leaks toy/test/b",
        "toy/train/d": "listed by the user",
        "toy/test/e": "no",
    }


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("toy/train/a", "a.jsonl:2 is no JSON"),
        (["toy/train/a"], "a.jsonl:2 must be an object.*found list"),
        ({"reason": "x"}, "a.jsonl:2 must have a text `id`"),
        ({"id": 7}, "a.jsonl:2 must have a text `id`"),
        ({"id": "a", "reason": ["x"]}, "a text `reason`"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, says):
    path = write(tmp_path / "a.jsonl", {"id": "toy/train/a"}, line)
    with pytest.raises(UserError, match=says):
        load_exclusions([path])


def test_a_list_that_is_not_there_says_how_to_make_it(tmp_path):
    with pytest.raises(UserError, match="mmrs curate FOLDER"):
        load_exclusions([tmp_path / "curation.jsonl"])


def run(root, out, workers=1, exclude=(), source=None):
    keys = {"sources": [{"name": "toy"}], "shard_bytes": 20_000, "exclude": exclude}
    recipe = BuildRecipe.model_validate(keys)
    plan = plan_build([toy_build(root, source)], recipe, workers, QUIET)
    return build(plan, recipe, out, workers, QUIET)


def tars(out):
    return {path.name: path.read_bytes() for path in out.rglob("*.tar")}


def test_only_the_shards_that_lose_an_image_change(tmp_path):
    write_toy(tmp_path / "toy", images=24)
    run(tmp_path / "toy", tmp_path / "out")
    before = tars(tmp_path / "out")
    gone = ["toy/train/train0003", "toy/train/train0010"]
    listed = write(tmp_path / "list.jsonl", *({"id": name} for name in [*gone, "other/train/x"]))
    result = run(tmp_path / "toy", tmp_path / "out", exclude=listed)
    after = tars(tmp_path / "out")
    changed = {name for name in before if before[name] != after[name]}
    assert before.keys() == after.keys()
    assert result.rebuilt == len(changed) <= 2 < len(before)
    rows = ShardSet(tmp_path / "out").table("train").to_pylist()
    assert (len(rows), {row["id"] for row in rows} & set(gone)) == (22, set())
    assert result.manifest.sources["toy"].splits["train"].excluded == 2
    run(tmp_path / "toy", tmp_path / "fresh", workers=2, exclude=listed)
    assert tars(tmp_path / "fresh") == after
    run(tmp_path / "toy", tmp_path / "out")
    assert tars(tmp_path / "out") == before


def test_what_the_list_names_elsewhere_does_not_change_the_data_set(tmp_path):
    write_toy(tmp_path / "toy", images=12)
    without = run(tmp_path / "toy", tmp_path / "out").manifest
    other = write(tmp_path / "list.jsonl", {"id": "other/train/x"})
    assert run(tmp_path / "toy", tmp_path / "out", exclude=other).manifest == without
    named = write(tmp_path / "list.jsonl", {"id": "toy/train/train0001"})
    manifest = run(tmp_path / "toy", tmp_path / "out", exclude=named).manifest
    assert without.recipe["exclude"] is None
    assert manifest.recipe["exclude"] is not None
    assert manifest.recipe_digest != without.recipe_digest


def test_single_tiles_and_whole_shards_can_be_left_out(tmp_path):
    write_toy(tmp_path / "toy", images=4, size=(200, 150), suffix="png")
    source = ToySource(tile_pixels=96)
    run(tmp_path / "toy", tmp_path / "out", source=source)
    ids = [row["id"] for row in ShardSet(tmp_path / "out").table("train").to_pylist()]
    first = write(tmp_path / "list.jsonl", {"id": ids[0]})
    run(tmp_path / "toy", tmp_path / "out", exclude=first, source=source)
    kept = [row["id"] for row in ShardSet(tmp_path / "out").table("train").to_pylist()]
    assert Counter(ids) - Counter(kept) == Counter(ids[:1])
    everything = write(tmp_path / "list.jsonl", *({"id": name} for name in ids))
    manifest = run(tmp_path / "toy", tmp_path / "out", exclude=everything, source=source).manifest
    assert {shard.split for shard in manifest.shards} == {"test"}
    assert manifest.sources["toy"].splits["train"].excluded == len(ids)
