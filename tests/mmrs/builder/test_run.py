"""Whole builds: byte-identical however they run, resumed after any kill, bad input in quarantine."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.errors import RunFailure, UserError
from mmrs.progress import Progress
from mmrs.shards.manifest import load_manifest
from mmrs.shards.reader import ShardSet
from mmrs.verify.dataset import verify_dataset
from tests.support.sources import ToySource, toy_build, write_toy

QUIET = Progress(quiet=True)
SMALL = BuildRecipe.model_validate({"sources": [{"name": "toy"}], "shard_bytes": 20_000})
TOLERANT = SMALL.model_copy(update={"quarantine_ceiling": 1.0})


def run(root, out, recipe=SMALL, workers=1, source=None):
    plan = plan_build([toy_build(root, source)], recipe, workers, QUIET)
    return build(plan, recipe, out, workers, QUIET)


def digests(out: Path) -> dict[str, str]:
    """Every published file; `.build` holds the machine's own state."""
    files = [path for path in out.rglob("*") if path.is_file() and ".build" not in path.parts]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def toy(tmp_path):
    write_toy(tmp_path / "toy", images=24)
    return tmp_path / "toy"


def test_a_build_verifies_and_reads_back(toy, tmp_path):
    result = run(toy, tmp_path / "out")
    assert len(result.manifest.shards) > 3
    checked = verify_dataset(tmp_path / "out", 1, QUIET)
    assert (checked.findings, checked.samples) == ((), 32)
    data = ShardSet(tmp_path / "out")
    for row in data.table("train").to_pylist():
        record = data.record(row)
        stem = record.id.rpartition("/")[2]
        assert data.image(row) == (toy / "train" / f"{stem}.jpg").read_bytes()
        stated = json.loads((toy / "train" / f"{stem}.json").read_text())
        assert [[o.category, list(o.extent())] for o in record.objects] == stated["objects"]


def test_same_bytes_for_any_number_of_workers_and_any_folder(toy, tmp_path):
    run(toy, tmp_path / "one")
    run(toy, tmp_path / "two", workers=2)
    moved = tmp_path / "elsewhere"
    toy.rename(moved)
    os.utime(next(moved.glob("train/*.jpg")), (1, 1))
    run(moved, tmp_path / "three")
    assert digests(tmp_path / "one") == digests(tmp_path / "two") == digests(tmp_path / "three")


@pytest.mark.parametrize("level", ["L0", "L1", "L2"])
def test_the_manifest_says_how_far_images_were_checked(toy, tmp_path, level):
    recipe = SMALL.model_copy(update={"validation": level})
    manifest = run(toy, tmp_path / "out", recipe).manifest
    assert (manifest.recipe["validation"], manifest.recipe_digest) == (level, recipe.digest())
    hashes = ShardSet(tmp_path / "out").table("train")["perceptual_hash"]
    assert hashes.null_count == (len(hashes) if level == "L0" else 0)
    assert (verify_dataset(tmp_path / "out", 1, QUIET).findings, load_manifest(tmp_path / "out")) == ((), manifest)


def test_a_second_run_writes_nothing(toy, tmp_path):
    run(toy, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.tar")}
    assert run(toy, tmp_path / "out").rebuilt == 0
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.tar")}


def test_a_changed_image_rebuilds_its_shard_alone(toy, tmp_path):
    run(toy, tmp_path / "out")
    changed = sorted((toy / "train").glob("*.json"))[3]
    changed.write_text(json.dumps({"size": [64, 48], "objects": [["ship", [1, 1, 20, 20]]]}))
    result = run(toy, tmp_path / "out")
    assert result.rebuilt == 1
    assert verify_dataset(tmp_path / "out", 1, QUIET).findings == ()
    run(toy, tmp_path / "fresh")
    assert digests(tmp_path / "out") == digests(tmp_path / "fresh")


@pytest.mark.parametrize("change", [{"revision": 2}, {"tile_pixels": 32}])
def test_a_changed_converter_rebuilds_everything_and_leaves_no_stale_shard(toy, tmp_path, change):
    run(toy, tmp_path / "out")
    run(toy, tmp_path / "out", source=ToySource(**change))
    run(toy, tmp_path / "fresh", source=ToySource(**change))
    assert digests(tmp_path / "out") == digests(tmp_path / "fresh")


def test_tiles_are_cuts_with_their_scene_named(tmp_path):
    write_toy(tmp_path / "toy", images=4, size=(150, 110), suffix="png")
    result = run(tmp_path / "toy", tmp_path / "out", source=ToySource(tile_pixels=64))
    assert verify_dataset(tmp_path / "out", 1, QUIET).findings == ()
    data = ShardSet(tmp_path / "out")
    records = [data.record(row) for row in data.table("train").to_pylist()]
    assert result.manifest.sources["toy"].image_suffix == {"train": "png", "test": "png"}
    assert all(r.image.parent and r.image.window and (r.image.width, r.image.height) == (64, 64) for r in records)
    assert all(any(not o.ignore for o in r.objects) for r in records)
    assert all(r.metadata["tiling"] == {"size": 64, "overlap": 16, "min_iof": 0.7} for r in records)
    for record in records:
        for item in record.objects:
            assert item.truncated == ("iof" in item.flags)
            assert item.ignore == (item.flags.get("iof", 1) < 0.7)


@pytest.mark.nightly
def test_kills_end_in_the_same_bytes(tmp_path):
    # `benchmarks/kills.py` does hundreds.
    write_toy(tmp_path / "toy", images=60)
    run(tmp_path / "toy", tmp_path / "straight")
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, '.');"
        "from mmrs.builder.recipe import BuildRecipe; from mmrs.builder.run import build, plan_build;"
        "from mmrs.progress import Progress; from tests.support.sources import toy_build;"
        f"recipe = BuildRecipe.model_validate({SMALL.model_dump(mode='json')!r});"
        "plan = plan_build([toy_build(Path(sys.argv[1]))], recipe, 1, Progress(quiet=True));"
        "print('planned', flush=True);"
        "build(plan, recipe, Path(sys.argv[2]), 1, Progress(quiet=True))"
    )
    chance = random.Random(0)
    killed = 0
    for _ in range(25):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "toy"), str(tmp_path / "out")], stdout=subprocess.PIPE
        )
        process.stdout.readline()
        time.sleep(chance.uniform(0, 0.12))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        process.stdout.close()
        if (tmp_path / "out" / "manifest.json").exists():
            assert verify_dataset(tmp_path / "out", 1, QUIET).findings == ()
            assert digests(tmp_path / "out") == digests(tmp_path / "straight")
            (tmp_path / "out" / "manifest.json").unlink()
            for done in sorted((tmp_path / "out").glob("*/*.done.json"))[::2]:
                done.unlink()
    assert killed >= 12
    run(tmp_path / "toy", tmp_path / "out")
    assert digests(tmp_path / "out") == digests(tmp_path / "straight")


def test_every_bad_item_is_in_quarantine_and_nothing_else_is_lost(toy, tmp_path):
    train = toy / "train"
    (train / "train0000.jpg").write_bytes((train / "train0000.jpg").read_bytes()[:300])
    (train / "train0001.json").write_text("{")
    (train / "train0002.json").write_text(json.dumps({"size": [640, 480], "objects": []}))
    (train / "train0003.json").write_bytes(b'{"size": [64, 48], "objects": "\xff"}')
    (train / "train0004.jpg").write_bytes(b"")
    (train / "train0005.json").write_text(json.dumps({"size": [64, 48], "objects": [["car", [900, 900, 950, 950]]]}))
    result = run(toy, tmp_path / "out", TOLERANT)
    found = {(entry.path, entry.level) for entry in result.quarantine}
    assert found == {
        ("train/train0000.jpg", "item"),
        ("train/train0001.json", "item"),
        ("train/train0002.json", "item"),
        ("train/train0003.json", "item"),
        ("train/train0004.jpg", "item"),
        ("train/train0005.json", "object"),
    }
    lines = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    assert len(lines) == 6 and all(line["reason"] for line in lines)
    counts = result.manifest.sources["toy"].splits["train"]
    assert (counts.records, counts.quarantined_items, counts.quarantined_objects) == (19, 5, 1)
    assert "annotation is for a 640x480 image" in next(e.reason for e in result.quarantine if "0002" in e.path)


def test_the_ceiling_fails_the_build_and_says_how_to_go_on(toy, tmp_path):
    (toy / "train" / "train0000.jpg").write_bytes(b"")
    with pytest.raises(RunFailure, match=r"1 of 32 images are bad \(3\.1%\).*quarantine_ceiling"):
        run(toy, tmp_path / "out")
    with pytest.raises(UserError, match="no manifest"):
        load_manifest(tmp_path / "out")
    run(toy, tmp_path / "out", TOLERANT)
    assert verify_dataset(tmp_path / "out", 1, QUIET).findings == ()


def test_a_shard_of_bad_items_alone_leaves_no_empty_tar(tmp_path):
    write_toy(tmp_path / "toy", images=3)
    for path in (tmp_path / "toy" / "test").glob("*.jpg"):
        path.write_bytes(path.read_bytes()[:400])
    result = run(tmp_path / "toy", tmp_path / "out", TOLERANT)
    assert [shard.split for shard in result.manifest.shards] == ["train"] and result.rebuilt == 1
    assert not list((tmp_path / "out" / "toy").glob("test-*.tar"))
    assert run(tmp_path / "toy", tmp_path / "out", TOLERANT).rebuilt == 0


def test_limits_take_a_seeded_part(toy, tmp_path):
    source = toy_build(toy)
    limited = type(source)(source.source, source.root, source.splits, limit=5)
    plan = plan_build([limited], SMALL, 1, QUIET)
    stems = [{sample.stem for sample in survey.samples} for survey in plan.surveys]
    assert [len(part) for part in stems] == [5, 5]
    assert (
        plan_build([limited], SMALL.model_copy(update={"seed": 1}), 1, QUIET).surveys[0].samples
        != plan.surveys[0].samples
    )


def test_two_builds_into_one_folder_are_refused(toy, tmp_path):
    import fcntl

    run(toy, tmp_path / "out")
    with open(tmp_path / "out" / ".build" / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another `mmrs`"):
            run(toy, tmp_path / "out")


def test_an_output_folder_that_cannot_be_written(toy, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="--out"):
        run(toy, tmp_path / "file")


def test_a_row_that_is_no_object_is_counted_and_takes_the_claims_of_its_image(toy, tmp_path):
    """Rows that a reader did not understand, and objects that the build finds outside or without area, alike."""
    changes = {
        "train0000": {"unread": [[3, "unknown class 'kar'"], [9, "4 words"]]},
        "train0001": {"objects": [["car", [2, 2, 9, 9]], ["car", [900, 2, 909, 9]]]},
        "train0002": {"objects": [], "unread": [[1, "unknown class 'kar'"]]},
        "train0003": {"objects": []},
    }
    for stem, change in changes.items():
        path = toy / "train" / f"{stem}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    result = run(toy, tmp_path / "out", TOLERANT)
    rows = [(entry.level, entry.id, entry.line, entry.images, entry.reason) for entry in result.quarantine]
    assert rows == [
        ("object", "toy/train/train0000", 3, 0, "train0000: unknown class 'kar'"),
        ("object", "toy/train/train0000", 9, 0, "train0000: 4 words"),
        ("object", "toy/train/train0001", None, 0, rows[2][4]),
        ("object", "toy/train/train0002", 1, 0, "train0002: unknown class 'kar'"),
    ]
    assert "lies outside the 64x48 image" in rows[2][4]
    data = ShardSet(tmp_path / "out")
    records = {row["id"]: data.record(row) for row in data.table("train").to_pylist()}
    assert len(records) == 24 and result.manifest.sources["toy"].splits["train"].quarantined_objects == 4
    for stem, unread in (("train0000", 2), ("train0001", 1), ("train0002", 1)):
        record = records[f"toy/train/{stem}"]
        assert (record.unread_rows, record.dialogues) == (unread, ())
    assert [dialogue.turns[1].value for dialogue in records["toy/train/train0003"].dialogues] == [
        "There are no objects in the image."
    ] * 2
    assert b"unread_rows" not in records["toy/train/train0003"].to_json()
    with pytest.raises(RunFailure, match=r"4 of \d+ rows are bad"):
        run(toy, tmp_path / "strict")
