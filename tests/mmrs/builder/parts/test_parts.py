"""Shards whose samples are written in parts: the bytes of a shard in one, whatever the parts and their order."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrs.builder.parts import cut
from mmrs.builder.parts.cut import cut_shards
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.engines.processes import ProcessPool
from mmrs.errors import StorageFailure
from mmrs.progress import Progress
from mmrs.verify.dataset import verify_dataset
from tests.support.sources import FatalSource, ToySource, noise_image, toy_build, write_toy

QUIET = Progress(quiet=True)
SIZES = (40_000, 10**9)


@dataclass(frozen=True)
class InAnyOrder:
    """An engine that runs its tasks here, in a seeded order, as processes that see this disk might."""

    processes_here: int
    seed: int

    def run(self, function, tasks, name, say):
        order = list(range(len(tasks)))
        random.Random(self.seed).shuffle(order)
        for position in order:
            yield position, function(tasks[position])


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """Two splits with an image that is re-encoded, some that are bad, a row that is bad, and one that is excluded."""
    root = tmp_path_factory.mktemp("parts") / "toy"
    write_toy(root, images=30)
    train = root / "train"
    (train / "train0004.jpg").write_bytes(noise_image(np.random.default_rng(1), suffix="png"))
    (train / "train0005.jpg").write_bytes((train / "train0005.jpg").read_bytes()[:300])
    (train / "train0006.json").write_text("{")
    outside = {"size": [64, 48], "objects": [["car", [900, 900, 950, 950]], ["car", [1, 1, 9, 9]]]}
    (train / "train0007.json").write_text(json.dumps(outside))
    return root


def recipe(toy, **words):
    excluded = toy.parent / "excluded.jsonl"
    excluded.write_text('{"id": "toy/train/train0009", "reason": "a copy"}\n')
    words = {"sources": [{"name": "toy"}], "quarantine_ceiling": 1.0, "exclude": [str(excluded)]} | words
    return BuildRecipe.model_validate(words)


def files(out: Path) -> dict[str, bytes]:
    """Every file, the states of shards too."""
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def written(toy, out, engine, source=None, **words):
    asked = recipe(toy, **words)
    plan = plan_build([toy_build(toy, source)], asked, 1, QUIET)
    build(plan, asked, out, 1, QUIET, engine=engine)
    found = files(out)
    found.pop(".build/lock", None)
    return found


@pytest.fixture(scope="module")
def straight(toy):
    """By bytes of a shard: the files of a build in which every shard is written in one."""
    return {size: written(toy, toy.parent / f"straight-{size}", ProcessPool(1), shard_bytes=size) for size in SIZES}


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 9), st.integers(1, 40), st.integers(0, 2**16), st.sampled_from(SIZES))
def test_any_parts_in_any_order_give_the_same_bytes(toy, straight, tmp_path_factory, processes, least, seed, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cut, "_LEAST_SAMPLES", least)
        shared = written(toy, tmp_path_factory.mktemp("any"), InAnyOrder(processes, seed), shard_bytes=size)
    assert shared == straight[size]
    quarantine = [json.loads(line)["level"] for line in shared["quarantine.jsonl"].splitlines()]
    assert Counter(quarantine) == {"item": 2, "object": 1, "excluded": 1}


@given(st.integers(1, 64), st.integers(1, 40))
def test_parts_hold_every_sample_once_in_its_place(toy, processes, least):
    tasks = plan_build([toy_build(toy)], recipe(toy), 1, QUIET).tasks
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cut, "_LEAST_SAMPLES", least)
        found = cut_shards(tasks, processes)
    for task, parts in zip(tasks, found, strict=True):
        assert [sample for part in parts for sample in part.task.samples] == list(task.samples)
        assert [pair for part in parts for pair in part.task.excluded] == list(task.excluded)
        assert [(part.number, part.count) for part in parts] == [(n, len(parts)) for n in range(len(parts))]
        first = task.first_ordinal
        for part in parts:
            assert part.task.first_ordinal == first and (len(part.task.samples) >= least or len(parts) == 1)
            first += len(part.task.samples)
    assert processes > 1 or all(len(parts) == 1 for parts in found)


def test_tiles_and_small_shards_stay_whole(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(cut, "_LEAST_SAMPLES", 1)
    write_toy(tmp_path / "scenes", images=8, size=(150, 110), suffix="png")
    tiled = plan_build([toy_build(tmp_path / "scenes", ToySource(tile_pixels=64))], recipe(toy), 1, QUIET)
    many = plan_build([toy_build(toy)], recipe(toy, shard_bytes=4000), 1, QUIET)
    assert len(many.tasks) > 32
    assert all(len(parts) == 1 for plan in (tiled, many) for parts in cut_shards(plan.tasks, 2))


def test_a_part_whose_process_dies_is_written_again(toy, straight, tmp_path, monkeypatch):
    monkeypatch.setattr(cut, "_LEAST_SAMPLES", 3)
    (tmp_path / "markers").mkdir()
    source = FatalSource(fatal=("train0003", "train0020", "test0002"), markers=tmp_path / "markers")
    assert written(toy, tmp_path / "out", ProcessPool(2), source, shard_bytes=SIZES[1]) == straight[SIZES[1]]
    assert len(list((tmp_path / "markers").iterdir())) == 3


def test_a_build_that_ends_in_the_middle_of_a_shard_keeps_none_of_it(toy, straight, tmp_path, monkeypatch):
    monkeypatch.setattr(cut, "_LEAST_SAMPLES", 3)

    @dataclass(frozen=True)
    class Ending(InAnyOrder):
        def run(self, *arguments):
            for number, done in enumerate(super().run(*arguments)):
                yield done
                if number == 6:
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        written(toy, tmp_path / "out", Ending(4, 0), shard_bytes=SIZES[1])
    assert not [name for name in files(tmp_path / "out") if "part-" in name or name.endswith((".tar", ".done.json"))]
    assert written(toy, tmp_path / "out", InAnyOrder(4, 1), shard_bytes=SIZES[1]) == straight[SIZES[1]]
    assert verify_dataset(tmp_path / "out", 1, QUIET).findings == ()


@pytest.mark.parametrize("full", ["part-2", "train-00000-of-00001.tar"])
def test_a_part_or_a_tar_that_cannot_be_written_is_told_by_its_shard(toy, tmp_path, monkeypatch, full):
    monkeypatch.setattr(cut, "_LEAST_SAMPLES", 3)
    real = Path.open

    def no_space(path, mode="r", *arguments, **words):
        return real(Path("/dev/full") if full in path.name else path, mode.replace("x", "w"), *arguments, **words)

    monkeypatch.setattr(Path, "open", no_space)
    with pytest.raises(
        StorageFailure, match=r"shard toy/train-00000-of-00001\.tar could not be written.*No space left"
    ):
        written(toy, tmp_path / "out", InAnyOrder(4, 0))
    assert not [name for name in files(tmp_path / "out") if "part-" in name or name.endswith(".tar")]


@pytest.mark.nightly
def test_kills_of_a_build_in_parts_end_in_the_same_bytes(toy, straight, tmp_path):
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, '.');"
        "from mmrs.builder.parts import cut; from mmrs.builder.recipe import BuildRecipe;"
        "from mmrs.builder.run import build, plan_build; from mmrs.progress import Progress;"
        "from tests.support.sources import toy_build; cut._LEAST_SAMPLES = 3;"
        f"recipe = BuildRecipe.model_validate({recipe(toy, shard_bytes=SIZES[1]).model_dump(mode='json')!r});"
        "plan = plan_build([toy_build(Path(sys.argv[1]))], recipe, 2, Progress(quiet=True));"
        "print('planned', flush=True);"
        "build(plan, recipe, Path(sys.argv[2]), 2, Progress(quiet=True))"
    )
    chance, killed, out = random.Random(0), 0, tmp_path / "out"
    for _ in range(15):
        words = [sys.executable, "-c", script, str(toy), str(out)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(chance.uniform(0, 1.2))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        process.stdout.close()
        if (out / "manifest.json").exists():
            shutil.rmtree(out)
    assert killed >= 5
    assert written(toy, out, ProcessPool(1), shard_bytes=SIZES[1]) == straight[SIZES[1]]
    assert {path.name for path in (out / ".build").iterdir()} == {"lock", "toy"}
