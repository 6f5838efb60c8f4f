"""The plan as a pure function: a permutation, seeded, spread, and cut where allowed."""

import itertools
from collections import Counter
from pathlib import Path
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from mmrs.builder.plan import PlannedSample, fill_shards, plan_split, spread_apart, stored_suffix
from mmrs.imaging.probe import ImageProbe
from mmrs.record import Window
from mmrs.source import Item

sizes = st.lists(st.integers(1, 100), max_size=60)


def sample(stem: str, scene=None, window=None, file_bytes=1000, fmt="JPEG") -> PlannedSample:
    probe = ImageProbe(100, 80, fmt, "RGB", file_bytes, 0, 1, None if fmt in ("JPEG", "PNG") else f"format {fmt}")
    return PlannedSample(Item(stem, Path(stem), scene=scene), probe, window)


@given(st.lists(st.sampled_from("aaaabbc"), max_size=80))
def test_spread_is_a_permutation(groups):
    assert sorted(spread_apart(groups)) == list(range(len(groups)))


def test_members_of_a_group_lie_far_apart():
    groups = ["scene"] * 10 + [f"single{n}" for n in range(90)]
    Random(0).shuffle(groups)
    places = [place for place, position in enumerate(spread_apart(groups)) if groups[position] == "scene"]
    gaps = [b - a for a, b in itertools.pairwise(places)]
    assert min(gaps) >= 6


@given(sizes, st.integers(1, 300), st.data())
def test_shards_partition_in_order_and_break_only_at_boundaries(sizes, limit, data):
    boundaries = data.draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes)))
    ranges = fill_shards(sizes, limit, boundaries)
    assert [position for part in ranges for position in part] == list(range(len(sizes)))
    for part in ranges:
        assert len(part) > 0
        assert part.start == 0 or boundaries[part.start]
        inner = [p for p in part if p > part.start and boundaries[p]]
        # Over the limit only where no boundary inside would have helped.
        assert sum(sizes[p] for p in part) <= limit or not inner


@given(st.integers(1, 60), st.integers(0, 3), st.integers(1500, 20000))
def test_every_image_is_in_exactly_one_shard(count, seed, shard_bytes):
    samples = [sample(f"{n:03d}", scene=f"flight{n % 3}") for n in range(count)]
    shards = plan_split(samples, seed, shard_bytes)
    assert Counter(s.stem for shard in shards for s in shard) == Counter(s.stem for s in samples)
    assert plan_split(list(reversed(samples)), seed, shard_bytes) == shards


def test_tiles_of_one_scene_share_a_shard_and_are_not_neighbours():
    samples = [
        sample(f"P{scene:04d}", window=Window(x=100 * n, y=0, width=100, height=80))
        for scene in range(6)
        for n in range(5)
    ]
    shards = plan_split(samples, 0, 3 * 5 * samples[0].planned_bytes)
    assert len(shards) == 2
    for shard in shards:
        for one, two in itertools.pairwise(shard):
            assert one.item.stem != two.item.stem
    scenes = [{s.item.stem for s in shard} for shard in shards]
    assert not scenes[0] & scenes[1]


def test_the_suffix_follows_the_bulk_of_the_bytes():
    assert stored_suffix([sample("a"), sample("b"), sample("c", fmt="PNG", file_bytes=500)]) == "jpg"
    assert stored_suffix([sample("a"), sample("b", fmt="TIFF")]) == "png"
