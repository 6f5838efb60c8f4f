"""A data set cut by its shards: nothing is lost, nothing is there twice, and the parts are the whole again."""

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from cli import main
from mmrs.builder.reuse.merge import MergeConfig, merge_data_sets
from mmrs.builder.reuse.split import HeldOutShare, draw_shards, split_data_set
from mmrs.curation.guard import policy_of
from mmrs.errors import UserError
from mmrs.progress import Progress
from mmrs.shards.manifest import COUNTS, Manifest, ShardEntry, SourceEntry, load_manifest
from mmrs.verify.dataset import verify_dataset
from tests.support.sources import ToySource

QUIET = Progress(quiet=True)


def split(location, out, rule):
    return split_data_set(location, out, rule, QUIET, 2)


@pytest.fixture
def mixed(make, tmp_path):
    """Two sources of two sensors in one data set."""
    one, two = make("one"), make("two", pictures=1, source=ToySource(name="two", sensor="sar"))
    merge_data_sets(MergeConfig((one, two), tmp_path / "mixed"), QUIET, 1)
    return tmp_path / "mixed"


@pytest.mark.parametrize(
    ("rule", "names"),
    [("source", ["one", "two"]), ("split", ["test", "train"]), ("sensor", ["optical", "sar"])],
)
def test_parts_are_sound_and_together_the_whole(mixed, tmp_path, rule, names):
    results = split(mixed, tmp_path / "parts", rule)
    places = [tmp_path / "parts" / name for name in names]
    assert [result.out for result in results] == places
    for place in places:
        assert verify_dataset(place, 1, QUIET).findings == ()
    whole = load_manifest(mixed)
    assert sorted(shard.sha256 for place in places for shard in load_manifest(place).shards) == sorted(
        shard.sha256 for shard in whole.shards
    )
    joined = merge_data_sets(MergeConfig(tuple(reversed(places)), tmp_path / "joined"), QUIET, 1)
    assert joined.manifest == whole
    assert (tmp_path / "joined" / "quarantine.jsonl").read_bytes() == (mixed / "quarantine.jsonl").read_bytes()
    assert len((mixed / "quarantine.jsonl").read_bytes().splitlines()) == 4


def test_what_is_held_out_is_for_evaluation_and_counted(make, tmp_path):
    one = make("one", images=24)
    kept, held_out = split(one, tmp_path / "parts", HeldOutShare(0.25))
    whole = load_manifest(one)
    for result in (kept, held_out):
        assert verify_dataset(result.out, 1, QUIET).findings == ()
    parts = [result.manifest for result in (kept, held_out)]
    assert {shard.split for shard in parts[1].shards} == {"train"}
    assert policy_of(parts[1]).trained == frozenset() and policy_of(parts[0]).trained == {"one/train"}
    counts = [part.sources["one"].splits["train"] for part in parts]
    total = whole.sources["one"].splits["train"]
    for name in COUNTS:
        assert sum(getattr(count, name) for count in counts) == getattr(total, name), name
    assert {t: sum(c.dialogues[t] for c in counts) for t in total.dialogues} == total.dialogues
    assert total.quarantined_items == 1 and total.quarantined_objects == 1
    lines = [line for result in (kept, held_out) for line in (result.out / "quarantine.jsonl").read_text().splitlines()]
    assert sorted(lines) == sorted((one / "quarantine.jsonl").read_text().splitlines())
    assert [shard.path for shard in parts[1].shards] == [
        f"one/train-{n:05d}-of-{len(parts[1].shards):05d}.tar" for n in range(len(parts[1].shards))
    ]
    again = split(one, tmp_path / "again", HeldOutShare(0.25))
    assert [result.manifest for result in again] == parts
    with pytest.raises(UserError, match="meant for training in one of the data sets and for evaluation in another"):
        merge_data_sets(MergeConfig((kept.out, held_out.out), tmp_path / "back"), QUIET, 1)


def test_a_split_of_one_shard_cannot_be_shared(make, tmp_path):
    one = make("one", shard_bytes=10**6)
    with pytest.raises(UserError, match=r"no split that is trained on has two shards.*shard_bytes"):
        split(one, tmp_path / "parts", HeldOutShare(0.5))
    assert not (tmp_path / "parts").exists()


@given(
    st.lists(st.integers(1, 1000), min_size=1, max_size=30),
    st.floats(0, 1, exclude_min=True, exclude_max=True),
    st.integers(0, 5),
)
def test_the_share_is_as_near_as_whole_shards_come(records, share, seed):
    manifest = of_sizes(records)
    drawn = draw_shards(manifest, HeldOutShare(share, seed))["one", "train"]
    assert drawn == draw_shards(of_sizes(records), HeldOutShare(share, seed))["one", "train"]
    if len(records) == 1:
        assert not drawn
        return
    assert 1 <= len(drawn) < len(records)
    off = abs(sum(records[place] for place in drawn) - share * sum(records))
    assert off <= max(records) or len(drawn) in (1, len(records) - 1)


def of_sizes(records):
    digest = "0" * 64
    shards = tuple(
        ShardEntry(
            source="one",
            split="train",
            path=f"one/train-{number:05d}-of-{len(records):05d}.tar",
            records=count,
            bytes=1,
            sha256=digest,
            index_bytes=1,
            index_sha256=digest,
        )
        for number, count in enumerate(records)
    )
    source = SourceEntry(
        sensor="optical",
        licence="MIT",
        tasks=(),
        categories=(),
        image_suffix={"train": "jpg"},
        converter_version=1,
        options={},
        splits={"train": {"records": sum(records)}},
    )
    return Manifest(
        tool_version="0", recipe_digest="0", sources={"one": source}, shards=shards, quarantine_sha256=digest
    )


def test_the_command(mixed, tmp_path):
    run = CliRunner()
    done = run.invoke(main, ["--quiet", "split", str(mixed), "--by", "source", "--out", str(tmp_path / "parts")])
    assert done.exit_code == 0 and f"in {tmp_path / 'parts' / 'one'}" in done.output
    for words in ([], ["--by", "source", "--hold-out", "0.1"], ["--hold-out", "1"]):
        refused = run.invoke(main, ["split", str(mixed), "--out", str(tmp_path / "x"), *words])
        assert refused.exit_code == 2 and "--hold-out" in refused.output
