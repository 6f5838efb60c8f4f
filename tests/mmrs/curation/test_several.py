"""Several data sets curated together: what their merged set gives, in a list for each."""

import orjson
import pytest
from click.testing import CliRunner
from PIL import Image

from cli import main
from mmrs.builder.reuse.merge import MergeConfig, merge_data_sets
from mmrs.builder.reuse.split import HeldOutShare, split_data_set
from mmrs.curation.guard import policy_of
from mmrs.curation.report import CURATION_NAME, SUMMARY_NAME
from mmrs.curation.run import CuratedSet, curate, curate_sets, places_for_several, policies_of
from mmrs.engines.processes import ProcessPool
from mmrs.errors import UserError
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from mmrs.storage.open import open_place
from tests.support.copies import built, picture, put
from tests.support.places import reach_s3
from tests.support.s3_server import s3_server
from tests.support.sources import ToySource

QUIET = Progress(quiet=True)


def lines(folder):
    return [orjson.loads(line) for line in (folder / CURATION_NAME).read_bytes().splitlines()]


def together(folders, outs):
    sets = [ShardSet(folder) for folder in folders]
    chosen = [CuratedSet(one, policy_of(one.manifest), out) for one, out in zip(sets, outs, strict=True)]
    return curate_sets(chosen, QUIET, ProcessPool(1))


@pytest.fixture
def one_and_two(tmp_path):
    """Two data sets; copies of test images of the first in both training splits, and labels that contradict."""
    one, two = tmp_path / "raw-one", tmp_path / "raw-two"
    for number in range(4):
        put(one, "train", f"a{number}", picture(number))
        put(one, "test", f"t{number}", picture(100 + number))
        put(two, "train", f"b{number}", picture(200 + number))
    put(one, "train", "recompressed", picture(100), quality=40)
    put(two, "train", "turned", picture(101).transpose(Image.Transpose.ROTATE_90))
    put(two, "train", "same", picture(103))
    put(two, "train", "twin", picture(2), quality=50)
    for name, root, splits in (("one", one, ("train", "test")), ("two", two, ("train",))):
        built(tmp_path / name, (root,), [ToySource(name=name, splits=splits)])
    return tmp_path / "one", tmp_path / "two"


def without_places(line):
    """A line as it would be of one data set."""
    steps = [{key: step[key] for key in ("reason", "image")} for step in line["chain"]]
    reason = ", which is ".join(f"{step['reason']} {step['image']}" for step in steps)
    kept = {key: value for key, value in line.items() if key != "evaluated_in"}
    return kept | {"chain": steps, "reason": reason}


def test_two_sets_give_what_their_merged_set_gives(one_and_two, tmp_path):
    merge_data_sets(MergeConfig(one_and_two, tmp_path / "merged"), QUIET, 1)
    whole = curate(tmp_path / "merged", QUIET)
    reports = together(one_and_two, one_and_two)
    wanted = [line for line in lines(tmp_path / "merged") if line["kind"] == "removal"]
    found = [line for folder in one_and_two for line in lines(folder) if line["kind"] == "removal"]
    assert {line["id"] for line in found} == {"one/train/recompressed", "two/train/turned", "two/train/same"}
    assert [without_places(line) for line in found] == wanted
    for kind in ("id", "check", "what"):
        assert sorted(getattr(fault, kind) for report in reports for fault in report.findings) == sorted(
            getattr(fault, kind) for fault in whole.findings
        )
    summaries = [orjson.loads((folder / SUMMARY_NAME).read_bytes()) for folder in one_and_two]
    assert sum(summary["images"] for summary in summaries) == whole.summary()["images"]
    assert [summary["data_set"] for summary in summaries] == [ShardSet(place).manifest.id for place in one_and_two]
    pictures = {
        frozenset([*line["images"], *(other["image"] for other in line.get("elsewhere", ()))])
        for folder in one_and_two
        for line in lines(folder)
        if line["kind"] == "group"
    }
    assert pictures == {frozenset(line["images"]) for line in lines(tmp_path / "merged") if line["kind"] == "group"}


def test_each_list_says_where_the_other_image_is_and_which_are_its_own(one_and_two):
    together(one_and_two, one_and_two)
    leak = next(line for line in lines(one_and_two[1]) if line.get("id") == "two/train/same")
    assert leak["reason"] == f"byte for byte the same as one/test/t3 of {one_and_two[0]}"
    assert (leak["evaluated"], leak["evaluated_in"]) == ("one/test/t3", str(one_and_two[0]))
    for folder, name in zip(one_and_two, ("one", "two"), strict=True):
        images = [image for line in lines(folder) if line["kind"] == "group" for image in line["images"]]
        assert images and all(image.startswith(f"{name}/") for image in images)
    assert all(line["id"].startswith("one/") for line in lines(one_and_two[0]) if line["kind"] == "removal")


def test_the_order_of_the_sets_does_not_matter(one_and_two, tmp_path):
    together(one_and_two, [tmp_path / "a1", tmp_path / "a2"])
    together(one_and_two[::-1], [tmp_path / "b2", tmp_path / "b1"])
    for name in (CURATION_NAME, SUMMARY_NAME):
        for number in ("1", "2"):
            assert (tmp_path / f"a{number}" / name).read_bytes() == (tmp_path / f"b{number}" / name).read_bytes()


def test_a_split_that_is_trained_on_in_one_and_held_out_in_another_is_guarded(tmp_path):
    raw = tmp_path / "raw"
    for number in range(6):
        put(raw, "train", f"a{number}", picture(number))
        # The next frame of the same scene.
        put(raw, "train", f"b{number}", picture(number), quality=60)
    built(tmp_path / "whole", (raw,), [ToySource(name="one", splits=("train",))], shard_bytes=20_000)
    parts = split_data_set(tmp_path / "whole", tmp_path / "parts", HeldOutShare(0.4), QUIET, 1)
    kept, held_out = (part.out for part in parts)
    together([kept, held_out], [kept, held_out])
    there = set(ShardSet(held_out).table("train")["id"].to_pylist())
    here = set(ShardSet(kept).table("train")["id"].to_pylist())
    twin = {name: name.replace("/a", "/x").replace("/b", "/a").replace("/x", "/b") for name in here | there}
    wanted = {name for name in here if twin[name] in there}
    assert wanted and {line["id"] for line in lines(kept) if line["kind"] == "removal"} == wanted
    assert [line for line in lines(held_out) if line["kind"] == "removal"] == []


def test_the_command_takes_several_and_writes_beside_each_or_below_out(one_and_two, tmp_path):
    words = ["--quiet", "curate", *map(str, one_and_two), "--workers", "1"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    for folder in one_and_two:
        assert f"{folder}:\n" in done.output and f"--set exclude={folder}/curation.jsonl" in done.output
    done = CliRunner().invoke(main, [*words, "--json", "--out", str(tmp_path / "lists")])
    printed = orjson.loads(done.output)
    assert [summary["curated_with"] for summary in printed] == [[str(place)] for place in one_and_two[::-1]]
    for folder, summary in zip(one_and_two, printed, strict=True):
        assert orjson.loads((tmp_path / "lists" / folder.name / SUMMARY_NAME).read_bytes()) == summary
        assert (tmp_path / "lists" / folder.name / CURATION_NAME).read_bytes() == (folder / CURATION_NAME).read_bytes()
    twice = CliRunner().invoke(main, ["curate", str(one_and_two[0]), str(one_and_two[0])])
    assert twice.exit_code == 2 and "named twice" in twice.output


@pytest.mark.nightly  # the server of S3 takes seconds to start
def test_folders_and_a_set_on_s3_give_what_their_merged_copies_give(one_and_two, tmp_path, monkeypatch):
    pytest.importorskip("s3fs", reason="S3 needs the extra s3")
    pytest.importorskip("moto.server", reason="the S3 server of the tests (moto, flask) is not installed")
    import fsspec

    raw, three, remote = tmp_path / "raw-three", tmp_path / "three", "s3://bucket/three"
    for number in range(3):
        put(raw, "train", f"c{number}", picture(300 + number))
    put(raw, "train", "leaked", picture(102), quality=60)
    put(raw, "train", "copied", picture(201))
    built(three, (raw,), [ToySource(name="three", splits=("train",))])
    folders = (*one_and_two, three)
    merge_data_sets(MergeConfig(folders, tmp_path / "merged"), QUIET, 1)
    curate(tmp_path / "merged", QUIET)
    wanted = [line for line in lines(tmp_path / "merged") if line["kind"] == "removal"]
    assert {"one/train/recompressed", "three/train/leaked"} <= {line["id"] for line in wanted}

    names = [folder.name for folder in folders]
    local = CliRunner().invoke(
        main, ["--quiet", "curate", *map(str, folders), "--workers", "1", "--out", f"{tmp_path}/l"]
    )
    assert local.exit_code == 0, local.output
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with s3_server() as port:
        reach_s3(f"http://127.0.0.1:{port}", monkeypatch)
        store = fsspec.filesystem("s3")
        store.mkdir("bucket")
        store.put(f"{three}/", "bucket/three/", recursive=True)
        words = ["--quiet", "curate", *map(str, one_and_two), remote, "--workers", "1"]
        below = CliRunner().invoke(main, [*words, "--out", "s3://bucket/lists"])
        assert below.exit_code == 0, below.output
        beside = CliRunner().invoke(main, words)
        assert beside.exit_code == 0, beside.output
        assert f"--set exclude={remote}/{CURATION_NAME}" in beside.output
        for name, own in zip(names, (*one_and_two, remote), strict=True):
            for file in (CURATION_NAME, SUMMARY_NAME):
                told = (tmp_path / "l" / name / file).read_bytes().replace(str(three).encode(), remote.encode())
                assert store.cat_file(f"bucket/lists/{name}/{file}") == told
                assert open_place(own).read_many([file])[file] == told
    found = [line for name in names for line in lines(tmp_path / "l" / name) if line["kind"] == "removal"]
    assert sorted((without_places(line) for line in found), key=lambda line: line["id"]) == sorted(
        wanted, key=lambda line: line["id"]
    )


def test_names_below_out_differ(tmp_path):
    assert places_for_several(["s3://a/data", tmp_path / "data"], "s3://b/out") == [
        "s3://b/out/data",
        "s3://b/out/data-2",
    ]
    assert places_for_several([tmp_path], tmp_path / "out") == [tmp_path / "out"]


def test_training_splits_that_some_sets_lack_are_taken_where_they_are(one_and_two):
    sets = [ShardSet(folder) for folder in one_and_two]
    assert [policy.trained for policy in policies_of(sets, ("test",))] == [{"one/test"}, frozenset()]
    assert [policy.trained for policy in policies_of(sets)] == [{"one/train"}, {"two/train"}]
    with pytest.raises(UserError, match="--train-split trian"):
        policies_of(sets, ("trian",))
