"""Data sets joined without writing a shard anew: the same bytes in any order, after any kill, and nothing of others."""

import itertools
import os
import shutil
import signal
import subprocess

import pytest
from click.testing import CliRunner

from cli import main
from mmrs.builder.reuse.merge import MergeConfig, describe_reuse, merge_data_sets
from mmrs.errors import RunFailure, StorageFailure, UserError
from mmrs.progress import Progress
from mmrs.shards.manifest import done_path, load_manifest
from mmrs.shards.reader import ShardSet
from mmrs.verify.dataset import verify_dataset
from tests.support.sources import ToySource

QUIET = Progress(quiet=True)


def merge(*locations, out, **options):
    return merge_data_sets(MergeConfig(tuple(locations), out, **options), QUIET, 2)


def published(out):
    files = (path for path in out.rglob("*") if path.is_file() and ".build" not in path.parts)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def records(location):
    data = ShardSet(location)
    rows = data.rows(range(len(data.manifest.shards))).to_pylist()
    return {row["id"]: (data.image(row), data.record_bytes(row)) for row in rows}


def test_a_merged_set_has_all_of_its_parents_and_passes_every_check(make, tmp_path):
    one, two = make("one"), make("two", pictures=1)
    result = merge(one, two, out=tmp_path / "both")
    assert verify_dataset(tmp_path / "both", 1, QUIET).findings == ()
    assert records(tmp_path / "both") == records(one) | records(two)
    parents = [load_manifest(one), load_manifest(two)]
    assert result.manifest.sources == parents[0].sources | parents[1].sources
    assert {shard.sha256 for shard in result.manifest.shards} == {s.sha256 for p in parents for s in p.shards}
    lines = [line for place in (one, two) for line in (place / "quarantine.jsonl").read_bytes().splitlines()]
    assert (
        sorted((tmp_path / "both" / "quarantine.jsonl").read_bytes().splitlines()) == sorted(lines) and len(lines) == 4
    )
    told = {parent.id: (parent.parts, parent.recipe) for parent in result.manifest.parents}
    assert told == {p.id: (tuple(f"{n}/{s}" for n in p.sources for s in ("test", "train")), p.recipe) for p in parents}
    assert "check it with `mmrs verify" in describe_reuse(result)


def test_shards_are_hard_links_and_with_copy_are_not(make, tmp_path):
    one = make("one")
    assert merge(one, out=tmp_path / "linked").shards["copied"] == 0
    assert merge(one, out=tmp_path / "copied", links=False).shards["linked"] == 0
    for shard in load_manifest(one).shards:
        assert (one / shard.path).samefile(tmp_path / "linked" / shard.path)
        assert not (one / shard.path).samefile(tmp_path / "copied" / shard.path)
    assert published(tmp_path / "linked") == published(tmp_path / "copied")


def test_the_bytes_depend_on_no_order_and_on_no_detour(make, tmp_path):
    sets = [make(name, images=4, pictures=number) for number, name in enumerate(("one", "two", "three"))]
    merge(*sets, out=tmp_path / "straight")
    straight = published(tmp_path / "straight")
    for number, order in enumerate(list(itertools.permutations(sets))[1:]):
        merge(*order, out=tmp_path / f"order{number}")
        assert published(tmp_path / f"order{number}") == straight
    merge(sets[2], sets[0], out=tmp_path / "first")
    merge(tmp_path / "first", sets[1], out=tmp_path / "detour")
    assert published(tmp_path / "detour") == straight
    merge(tmp_path / "detour", tmp_path / "first", sets[1], out=tmp_path / "again")
    assert published(tmp_path / "again") == straight


def test_a_second_run_does_nothing_and_an_update_writes_what_changed(make, tmp_path):
    one, two = make("one"), make("two", pictures=1)
    before = merge(one, two, out=tmp_path / "both")
    again = merge(one, two, out=tmp_path / "both")
    assert again.shards == {"linked": 0, "copied": 0, "there already": len(before.manifest.shards)}
    make("two", images=30, pictures=2, out=two)
    (tmp_path / "both" / "notes.txt").write_text("mine")
    after = merge(one, two, out=tmp_path / "both")
    assert after.shards["there already"] >= len(load_manifest(one).shards) and after.shards["linked"]
    left = published(tmp_path / "both")
    assert left.pop("notes.txt") == b"mine"
    merge(one, two, out=tmp_path / "fresh")
    assert left == published(tmp_path / "fresh")


def test_splits_of_one_source_from_two_builds_are_joined(make, tmp_path):
    train = make("one", out=tmp_path / "train", splits=("train",))
    test = make("one", out=tmp_path / "test", splits=("test",))
    whole = make("one", out=tmp_path / "whole")
    joined = merge(train, test, out=tmp_path / "joined").manifest
    assert joined.shards == tuple(sorted(load_manifest(whole).shards, key=lambda shard: shard.path))
    assert joined.sources == load_manifest(whole).sources


def test_the_same_split_twice_is_there_once(make, tmp_path):
    one, copy = make("one"), make("one", out=tmp_path / "copy")
    assert merge(one, copy, out=tmp_path / "both").manifest.shards == merge(one, out=tmp_path / "o").manifest.shards


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": 15}, r"hold other shards of one/test with the same key \(4 of them, one-test-00000000 first\)"),
        ({"source": ToySource(name="one", revision=2)}, "describe one in two ways: converter_version is [12] in"),
        ({"source": ToySource(name="one", licence="MIT")}, "describe one in two ways: licence is"),
    ],
)
def test_what_cannot_be_true_at_once_is_taken_from_one(make, tmp_path, change, words):
    one, other = make("one"), make("one", out=tmp_path / "other", **change)
    with pytest.raises(UserError, match=words) as caught:
        merge(one, other, out=tmp_path / "both")
    assert "Add --first-wins" in str(caught.value) and not (tmp_path / "both").exists()
    for first, second in ((one, other), (other, one)):
        chosen = merge(first, second, out=tmp_path / f"{first.name}-first", first_wins=True).manifest
        assert chosen == merge(first, out=tmp_path / f"{first.name}-alone").manifest


def test_a_split_is_meant_for_one_thing(make, tmp_path):
    one = make("one")
    with pytest.raises(UserError, match=r"one/test is meant for training in one of .* and for evaluation in another"):
        merge(one, _meant_otherwise(one, tmp_path), out=tmp_path / "both")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dialect": "mmrs1m"}, "the text of the data sets is written in two ways: dialect is"),
        ({"max_objects_per_dialogue": 5}, "written in two ways: max_objects_per_dialogue is"),
    ],
)
def test_text_is_written_in_one_way(make, tmp_path, change, words):
    with pytest.raises(UserError, match=f"{words}.*--set"):
        merge(make("one"), make("two", **change), out=tmp_path / "both")


def _meant_otherwise(one, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(one, other)
    manifest = load_manifest(one)
    entry = manifest.sources["one"].model_copy(update={"train_splits": ("test",)})
    changed = manifest.model_copy(update={"sources": {"one": entry}}).with_id()
    (other / "manifest.json").write_bytes(changed.to_json())
    return other


def test_seeds_matter_only_where_they_choose_words(make, tmp_path):
    places = [make(f"plain{seed}", images=3, seed=seed) for seed in (0, 1)]
    assert "seed" not in merge(*places, out=tmp_path / "plain").manifest.recipe
    assert merge(places[1], out=tmp_path / "alone").manifest.recipe["seed"] == 1
    worded = [make(f"worded{seed}", images=3, seed=seed, templates="diverse") for seed in (0, 1)]
    with pytest.raises(UserError, match=r"worded by different seeds \(0, 1\)"):
        merge(*worded, out=tmp_path / "worded")


def test_sources_and_splits_are_chosen(make, tmp_path):
    one, two = make("one"), make("two", pictures=1)
    chosen = merge(one, two, out=tmp_path / "chosen", sources=("two",), splits=("train",)).manifest
    assert {(shard.source, shard.split) for shard in chosen.shards} == {("two", "train")}
    assert chosen.sources["two"].splits.keys() == {"train"} and chosen.parents[0].parts == ("two/train",)
    assert verify_dataset(tmp_path / "chosen", 1, QUIET).findings == ()
    for options, words in (
        ({"sources": ("tow",)}, r"--source tow: none of the data sets has it \(did you mean 'two'\?\)"),
        ({"splits": ("val",)}, "--split val: none of the data sets has it"),
    ):
        with pytest.raises(UserError, match=words):
            merge(one, two, out=tmp_path / "none", **options)


def test_a_build_and_files_of_others_are_left_alone(make, tmp_path):
    one, two, three = make("one"), make("two", pictures=1), make("three", pictures=2)
    before = published(one)
    with pytest.raises(UserError, match="is another data set: it holds one/"):
        merge(one, two, out=one)
    with pytest.raises(UserError, match="is another data set"):
        merge(two, three, out=one)
    assert published(one) == before
    mine = tmp_path / "mine" / load_manifest(two).shards[0].path
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(UserError, match="which no build made and this one would write over"):
        merge(two, out=tmp_path / "mine")
    assert mine.read_bytes() == b"mine"


def test_a_build_into_a_merged_set_says_what_lies_there(make, tmp_path):
    merge(make("one"), make("two", pictures=1), out=tmp_path / "both")
    with pytest.raises(UserError, match="is the data set of another recipe: it holds two"):
        make("one", out=tmp_path / "both")


def test_a_copy_without_states_is_gone_on_with(make, tmp_path):
    one, two = make("one"), make("two", pictures=1)
    merge(one, two, out=tmp_path / "both")
    shutil.rmtree(tmp_path / "both" / ".build")
    assert merge(one, two, out=tmp_path / "both").shards["linked"] == 0
    with pytest.raises(UserError, match="is another data set"):
        merge(one, out=tmp_path / "both")


def damage_tar(one):
    path = one / load_manifest(one).shards[0].path
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(bytes(data))


def cut_tar(one):
    path = one / load_manifest(one).shards[0].path
    path.write_bytes(path.read_bytes()[:-512])


def grow_tar(one):
    path = one / load_manifest(one).shards[0].path
    path.write_bytes(path.read_bytes() + bytes(512))


def remove_index(one):
    (one / load_manifest(one).shards[0].index_path).unlink()


def other_done(one):
    first, second = (one / done_path(shard.path) for shard in load_manifest(one).shards[:2])
    first.write_bytes(second.read_bytes())


def cut_quarantine(one):
    (one / "quarantine.jsonl").write_bytes(b"")


@pytest.mark.parametrize("damage", [damage_tar, cut_tar, grow_tar, remove_index, other_done, cut_quarantine])
def test_a_damaged_parent_is_named(make, tmp_path, damage):
    one = make("one")
    damage(one)
    with pytest.raises(RunFailure, match=rf"{one}.*mmrs verify"):
        merge(one, out=tmp_path / "out", links=False)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_what_a_strangers_link_leads_to_is_no_shard(make, tmp_path):
    one = make("one")
    shard = load_manifest(one).shards[0]
    (tmp_path / "secret").write_bytes(b"s" * shard.bytes)
    (one / shard.path).rename(tmp_path / "elsewhere.tar")
    (one / shard.path).symlink_to(tmp_path / "elsewhere.tar")
    assert merge(one, out=tmp_path / "out").shards["copied"] == 1
    (one / shard.path).unlink()
    (one / shard.path).symlink_to(tmp_path / "secret")
    with pytest.raises(RunFailure, match="it is not the file that its manifest names"):
        merge(one, out=tmp_path / "other")


def test_killed_anywhere_it_goes_on(make, tmp_path, monkeypatch):
    one, two = make("one", images=4), make("two", images=4, pictures=1)
    merge(one, two, out=tmp_path / "straight")
    whole = published(tmp_path / "straight")
    replaced = os.replace
    for step in itertools.count(1):
        child = os.fork()
        if not child:
            # Each file comes to its place by one rename.
            left = itertools.count(step, -1)

            def fatal(source, target, left=left):
                if next(left) <= 1:
                    os.kill(os.getpid(), signal.SIGKILL)
                replaced(source, target)

            os.replace = fatal
            merge(one, two, out=tmp_path / "out")
            os._exit(0)
        _, status = os.waitpid(child, 0)
        there = published(tmp_path / "out")
        assert not os.WIFEXITED(status) or there == whole
        if os.WIFEXITED(status):
            break
        assert "manifest.json" not in there
        for name in [name for name in there if name.endswith(".done.json")]:
            stem = name.removesuffix(".done.json")
            assert all(there[stem + end] == whole[stem + end] for end in (".tar", ".parquet", ".done.json"))
        if step % 3 == 0:
            merge(one, two, out=tmp_path / "out")
            assert published(tmp_path / "out") == whole and verify_dataset(tmp_path / "out", 1, QUIET).findings == ()
            shutil.rmtree(tmp_path / "out")
    assert step > 4
    shutil.rmtree(tmp_path / "out")


def test_a_disk_that_fills_up(make, tmp_path, small_disk):
    one, two = make("one"), make("two", pictures=1)
    merge(one, two, out=tmp_path / "straight")
    whole = published(tmp_path / "straight")
    needed = sum(map(len, whole.values())) // 1024
    for kilobytes in range(8, needed, max(1, needed // 3)):
        out = small_disk(kilobytes) / "out"
        with pytest.raises((StorageFailure, UserError), match="No space left on device"):
            merge(one, two, out=out)
        assert "manifest.json" not in published(out)
        small_disk(64 * 1024, "remount")
        merge(one, two, out=out)
        assert published(out) == whole
        subprocess.run(["umount", str(out.parent)], check=True)


def test_the_command_says_what_it_did_and_refuses_nothing_at_all(make, tmp_path):
    one = make("one")
    done = CliRunner().invoke(main, ["--quiet", "merge", str(one), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0 and "of 1 builds" in done.output
    command = done.output.rpartition("`mmrs ")[2].rstrip("`\n").split()
    assert command == ["verify", str(tmp_path / "out")]
    assert CliRunner().invoke(main, [*command, "--workers", "1"]).exit_code == 0
    assert CliRunner().invoke(main, ["merge", "--out", str(tmp_path / "x")]).exit_code == 2
