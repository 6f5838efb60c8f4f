"""A disk that fills up anywhere in a build: the error says so, nothing half-written is read, the next run goes on."""

import subprocess
from pathlib import Path

import pytest

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.errors import StorageFailure, UserError
from mmrs.progress import Progress
from mmrs.verify.dataset import verify_dataset
from tests.support.sources import toy_build, write_toy

QUIET = Progress(quiet=True)
SMALL = BuildRecipe.model_validate({"sources": [{"name": "toy"}], "shard_bytes": 20_000})


def run(toy, out, workers=1):
    return build(plan_build([toy_build(toy)], SMALL, 1, QUIET), SMALL, out, workers, QUIET)


def published(out: Path) -> dict[str, bytes]:
    files = (path for path in out.rglob("*") if path.is_file() and ".build" not in path.parts)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def test_a_disk_that_fills_up_at_any_point(small_disk, tmp_path):
    write_toy(tmp_path / "toy", images=12)
    run(tmp_path / "toy", tmp_path / "straight")
    whole = published(tmp_path / "straight")
    needed = sum(map(len, whole.values())) // 1024
    finished = []
    for number, kilobytes in enumerate(range(8, needed, max(1, needed // 5))):
        out = small_disk(kilobytes) / "out"
        with pytest.raises((StorageFailure, UserError), match=r"No space left on device.*") as caught:
            run(tmp_path / "toy", out, workers=1 + number % 2)
        assert "run the same command again" in str(caught.value) or "--out" in str(caught.value)
        left = published(out)
        assert "manifest.json" not in left
        done = {name.removesuffix(".done.json") for name in left if name.endswith(".done.json")}
        for stem in done:
            for suffix in (".tar", ".parquet", ".done.json"):
                assert left[stem + suffix] == whole[stem + suffix]
        finished.append(len(done))
        small_disk(64 * 1024, "remount")
        assert run(tmp_path / "toy", out).rebuilt == sum(name.endswith(".tar") for name in whole) - len(done)
        assert published(out) == whole and verify_dataset(out, 1, QUIET).findings == ()
        subprocess.run(["umount", str(out.parent)], check=True)
    assert max(finished) >= 2
