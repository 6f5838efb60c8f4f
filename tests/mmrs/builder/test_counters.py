"""Three counters that are never mixed: bad images, bad annotation rows, absent things; and when they fail a build."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import BuildResult, build, plan_build
from mmrs.builder.summary import describe_plan, describe_result
from mmrs.errors import RunFailure, UserError
from mmrs.progress import Progress
from mmrs.source import Absent, Discovery
from tests.support.sources import ToySource, toy_build, write_toy

QUIET = Progress(quiet=True)
STRICT = BuildRecipe.model_validate({"sources": [{"name": "toy"}]})
TOLERANT = STRICT.model_copy(update={"quarantine_ceiling": 1.0})


@dataclass(frozen=True)
class PartlyAbsent(ToySource):
    """A toy source that also finds things absent, in each split and in the whole set."""

    def discover(self, root: Path, split: str) -> Discovery:
        missing = tuple(Absent(str(root / split), f"line {number}: no image") for number in range(50))
        shared = (Absent(str(root / "boat"), "class folder is missing"),)
        return replace(super().discover(root, split), problems=missing, shared_problems=shared)


@pytest.fixture
def toy(tmp_path):
    write_toy(tmp_path / "toy", images=24)
    return tmp_path / "toy"


def run(root, out, recipe=STRICT, source=None) -> BuildResult:
    return build(plan_build([toy_build(root, source)], recipe, 1, QUIET), recipe, out, 1, QUIET)


def test_what_is_absent_is_neither_a_bad_image_nor_a_bad_row(toy, tmp_path):
    result = run(toy, tmp_path / "out", source=PartlyAbsent())
    counts = result.manifest.sources["toy"].splits
    assert {split: part.absent for split, part in counts.items()} == {"train": 51, "test": 50}
    assert all(part.quarantined_items == part.quarantined_objects == 0 for part in counts.values())
    assert {entry.level for entry in result.quarantine} == {"absent"}
    plan = plan_build([toy_build(toy, PartlyAbsent())], STRICT, 1, QUIET)
    assert all("absent: 101 things" in said for said in (describe_result(result, tmp_path), describe_plan(plan)))


def test_a_split_without_an_image_is_absent_as_long_as_another_has_some(toy, tmp_path):
    for path in (toy / "test").iterdir():
        path.unlink()
    assert run(toy, tmp_path / "out").manifest.sources["toy"].splits["test"].absent == 1
    with pytest.raises(UserError, match=r"split 'test' under .* has no image; .*mmrs scan toy"):
        plan_build([toy_build(toy, splits=("test",))], STRICT, 1, QUIET)


def test_the_ceiling_is_checked_before_a_shard_is_written(toy, tmp_path):
    (toy / "train" / "train0000.jpg").write_bytes(b"")
    with pytest.raises(RunFailure, match="1 of 32 images are bad"):
        run(toy, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.tar"))
    assert b"train0000.jpg" in (tmp_path / "out" / "quarantine.jsonl").read_bytes()


def test_a_build_of_nothing_is_a_failure(toy, tmp_path):
    for path in toy.glob("*/*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(RunFailure, match=r"no image can be stored.*quarantine.jsonl says why.*mmrs scan toy"):
        run(toy, tmp_path / "out", TOLERANT)
    assert not (tmp_path / "out" / "manifest.json").exists()
