"""After the guard no group straddles training and evaluation, and nothing goes without a reason."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrs.curation.groups import Groups
from mmrs.curation.guard import Policy, guard, policy_of, shared_by_benchmarks, straddling
from mmrs.curation.links import LinkKind, components, make_links
from mmrs.errors import UserError
from mmrs.shards.manifest import Manifest, SourceEntry, SplitCounts


def grouped(rows, pairs):
    links = make_links(LinkKind.COPY, [a for a, _ in pairs], [b for _, b in pairs], [f"{a}-{b}" for a, b in pairs])
    return Groups(components(rows, links), links)


@st.composite
def cases(draw):
    rows = draw(st.integers(1, 40))
    pairs = draw(st.lists(st.tuples(*[st.integers(0, rows - 1)] * 2), max_size=60))
    evaluation = draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
    return rows, pairs, np.array(evaluation)


@given(cases())
def test_leakage_after_the_guard_is_zero(case):
    rows, pairs, evaluation = case
    groups = grouped(rows, pairs)
    removed = {removal.row for removal in guard(groups, evaluation)}
    kept = np.array([row for row in range(rows) if row not in removed])
    assert not straddling(groups.labels[kept], evaluation[kept]).any()
    assert not any(
        {first, second} <= set(kept.tolist()) and evaluation[first] != evaluation[second] for first, second in pairs
    )


@given(cases())
def test_nothing_evaluated_is_removed_and_every_removal_has_a_chain_of_links(case):
    rows, pairs, evaluation = case
    groups = grouped(rows, pairs)
    removals = guard(groups, evaluation)
    assert [removal.row for removal in removals] == sorted({removal.row for removal in removals})
    for removal in removals:
        assert not evaluation[removal.row]
        assert evaluation[removal.evaluation_row]
        assert removal.group == groups.labels[removal.row] == groups.labels[removal.evaluation_row]
        row = removal.row
        for following, link in removal.chain:
            assert {row, following} == {*pairs[link]}
            row = following


@given(cases())
def test_a_training_image_without_an_evaluated_one_in_its_group_stays(case):
    rows, pairs, evaluation = case
    groups = grouped(rows, pairs)
    leaking = set(groups.labels[evaluation].tolist())
    expected = [row for row in range(rows) if not evaluation[row] and groups.labels[row] in leaking]
    assert [removal.row for removal in guard(groups, evaluation)] == expected


def test_the_chain_is_a_shortest_one():
    groups = grouped(5, [(0, 1), (1, 2), (2, 3), (3, 4), (0, 3)])
    removals = guard(groups, np.array([False, False, False, False, True]))
    assert [(removal.row, [row for row, _ in removal.chain]) for removal in removals] == [
        (0, [3, 4]),
        (1, [2, 3, 4]),
        (2, [3, 4]),
        (3, [4]),
    ]


def test_policy():
    policy = Policy(frozenset({"dior/train"}))
    assert not policy.evaluates("dior", "train")
    assert policy.evaluates("dior", "val")
    assert policy.evaluates("dior", "test")
    assert policy.evaluates("mar20", "train")


def test_the_policy_is_the_one_that_the_data_set_was_built_with():
    common = {"sensor": "optical", "licence": "unknown", "tasks": (), "categories": (), "image_suffix": {}}
    splits = {"train": SplitCounts(), "val": SplitCounts()}
    trained = {"dior": ("train",), "rsicd": ("train", "val"), "mar20": ()}
    sources = {
        name: SourceEntry(**common, converter_version=1, options={}, splits=splits, train_splits=names)
        for name, names in trained.items()
    }
    manifest = Manifest(tool_version="0", recipe_digest="0", sources=sources, shards=(), quarantine_sha256="0")
    assert policy_of(manifest).trained == {"dior/train", "rsicd/train", "rsicd/val"}
    assert policy_of(manifest, ("val",)).trained == {"dior/val", "rsicd/val"}
    with pytest.raises(UserError, match=r"no source has such a split \(did you mean 'train'\?\); there are train, val"):
        policy_of(manifest, ("tarin",))


def test_groups_of_two_benchmarks_are_counted_once_per_group():
    labels = np.array([0, 0, 0, 3, 3, 5])
    splits = ["a/test", "b/test", "b/test", "a/test", "b/train", "c/test"]
    assert shared_by_benchmarks(labels, splits, np.array([True, True, True, True, False, True])) == {
        "a/test and b/test": 1
    }


def test_no_images():
    assert guard(grouped(0, []), np.empty(0, bool)) == ()
