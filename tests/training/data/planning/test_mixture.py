"""The mixture: exact counts, nothing lost, nothing by chance."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrs.errors import UserError
from tests.training.data.planning.test_plan import SETTINGS, make_lengths
from tests.training.shard_folder import make_shard_folder
from training.config import MixtureRule, TrainConfig, load_config
from training.data.planning.mixture import copies_of_epoch, group_dialogues, mixture_text, parse_mixture
from training.data.planning.plan import Lengths, epoch_plan
from training.data.planning.selection import select

passes_per_epoch = st.fractions(Fraction(1, 7), 4, max_denominator=12)


def copies(groups, passes, epoch, seed=0):
    return copies_of_epoch(np.array(groups), passes, ("d" * 64, seed), epoch)


@given(st.integers(1, 40), passes_per_epoch, st.integers(1, 9), st.integers(0, 3))
@settings(max_examples=200, deadline=None)
def test_a_group_is_covered_evenly_and_counts_are_exact(count, passes, epochs, seed):
    """After any number of epochs: in all floor(E p n) showings, no item more than one behind another."""
    seen = sum(copies([0] * count, [passes], epoch, seed) for epoch in range(epochs))
    assert int(seen.sum()) == int(epochs * passes * count)
    assert seen.max() - seen.min() <= 1
    one = copies([0] * count, [passes], epochs, seed)
    # An epoch that ends one pass and begins the next may show an item in both.
    assert int(one.sum()) == int((epochs + 1) * passes * count) - int(epochs * passes * count)
    assert one.max() <= int(passes) + 2


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60), st.lists(passes_per_epoch, min_size=3, max_size=3))
@settings(max_examples=100, deadline=None)
def test_groups_do_not_touch_each_other(groups, passes):
    together = copies(groups, passes, 2)
    for number in range(3):
        members = np.flatnonzero(np.array(groups) == number)
        others = [Fraction(1) if other != number else passes[number] for other in range(3)]
        assert np.array_equal(copies(groups, others, 2)[members], together[members])


def test_whole_passes_show_each_item_equally_often_and_halves_complete_each_other():
    assert set(copies([0] * 9, [Fraction(3)], 5).tolist()) == {3}
    first, second = copies([0] * 10, [Fraction(1, 2)], 0), copies([0] * 10, [Fraction(1, 2)], 1)
    assert (first + second).tolist() == [1] * 10 and first.tolist() != [1] * 5 + [0] * 5
    assert not np.array_equal(first, copies([0] * 10, [Fraction(1, 2)], 0, seed=1))
    assert not np.array_equal(first, copies([0] * 10, [Fraction(1, 2)], 2))


@given(
    st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=4), min_size=1, max_size=40),
    st.lists(passes_per_epoch, min_size=2, max_size=2),
    st.integers(0, 3),
)
@settings(max_examples=100, deadline=None)
def test_a_plan_shows_every_dialogue_as_often_as_its_group(rows, passes, epoch):
    lengths = make_lengths(rows)
    lengths = replace(lengths, group=(np.arange(len(lengths)) % 2).astype(np.int32))
    plan_settings = replace(SETTINGS, mixture=mixture_text(["a", "b"], passes))
    plan = epoch_plan(lengths, plan_settings, epoch)
    planned = [plan.pack(number) for number in range(len(plan))]
    seen = Counter(int(entry) for pack in planned for _, entries in pack for entry in entries)
    assert seen == expected_showings(lengths, passes, epoch, plan.excluded)
    assert sum(len(entries) for pack in planned for _, entries in pack) == len(plan.entries)
    for pack in planned:
        for row, entries in pack:
            assert set(lengths.row[entries].tolist()) == {row} and len(set(entries.tolist())) == len(entries)
    shown = set(zip(plan.unit_row.tolist(), plan.unit_copy.tolist(), strict=True))
    assert all((row, copy - 1) in shown for row, copy in shown if copy)


def expected_showings(lengths: Lengths, passes, epoch, excluded) -> Counter:
    """By brute force: items of a group in order, each with its dialogues."""
    expected: Counter = Counter()
    for group in range(2):
        entries = [e for e in np.flatnonzero(lengths.group == group).tolist() if e not in set(excluded.tolist())]
        rows = sorted({int(lengths.row[entry]) for entry in entries})
        groups = np.full(len(rows), group)
        times = dict(zip(rows, copies_of_epoch(groups, passes, ("d" * 64, 0), epoch).tolist(), strict=True))
        expected.update({entry: times[int(lengths.row[entry])] for entry in entries})
    return +expected


def test_the_mixture_is_part_of_the_plan():
    lengths = replace(make_lengths([[20, 30]] * 30), group=np.zeros(60, np.int32))
    digests = {epoch_plan(lengths, replace(SETTINGS, mixture=f"a={p}"), 0).digest for p in ("1", "2", "3/2")}
    assert len(digests) == 3
    assert epoch_plan(lengths, replace(SETTINGS, mixture="a=3/2"), 0).digest in digests


def test_text_of_a_mixture_is_exact():
    passes = [Fraction("0.1"), Fraction(2), Fraction(5, 3)]
    assert mixture_text(["a/*", "*/b", "others"], passes) == "a/*=1/10;*/b=2;others=5/3"
    assert parse_mixture("a/*=1/10;*/b=2;others=5/3") == passes and parse_mixture("") == [1]


@pytest.fixture(scope="module")
def selection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixture")
    make_shard_folder(folder / "a", 12, 1, source="alpha")
    make_shard_folder(folder / "b", 6, 1, source="beta")
    return select([folder / "a", folder / "b"], ["train"])


def test_the_first_rule_that_matches_decides(selection):
    rules = [MixtureRule(source="alpha", task="vqa", epochs=3), MixtureRule(source="alpha", epochs=2)]
    with pytest.raises(UserError, match=r"task 'vqa' is not selected"):
        group_dialogues(selection, rules)
    rules = [MixtureRule(task="captioning", epochs=0.5), MixtureRule(source="alpha", epochs=2)]
    group, text = group_dialogues(selection, rules)
    assert text == "*/captioning=1/2;alpha/*=2;others=1"
    captioning = selection.dialogue_task == selection.tasks.index("captioning")
    alpha = selection.source[selection.dialogue_row] == selection.sources.index("alpha")
    assert np.array_equal(group, np.where(captioning, 0, np.where(alpha, 1, 2)))
    assert group_dialogues(selection, [])[1] == ""


def test_weights_are_shares_of_the_samples(selection):
    rules = [MixtureRule(source="alpha", weight=1), MixtureRule(source="beta", weight=3)]
    _, text = group_dialogues(selection, rules)
    passes = parse_mixture(text)
    items = np.array([0] * 12 + [1] * 6)
    shown = [copies_of_epoch(items, passes, ("x", 0), epoch) for epoch in range(4)]
    assert sum(int(copies[:12].sum()) for copies in shown) == 18 and sum(int(c[12:].sum()) for c in shown) == 54
    assert all(abs(int(copies.sum()) - 18) <= 1 for copies in shown)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([{"source": "alpha", "weight": 1}], r"no rule gives a weight to beta/"),
        ([{"source": "alfa", "epochs": 1}], r"did you mean 'alpha'\?"),
        ([{"source": "alpha", "epochs": 1}, {"source": "alpha", "task": "captioning", "epochs": 2}], r"Move it up"),
    ],
)
def test_rules_that_do_not_fit_are_refused(selection, rules, message):
    with pytest.raises(UserError, match=message):
        group_dialogues(selection, [MixtureRule(**rule) for rule in rules])


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("[{source: a}]", "exactly one of epochs and weight"),
        ("[{epochs: 1}]", "name a source, a task or both"),
        ("[{source: a, epochs: 1}, {source: b, weight: 1}]", "the same in all rules"),
        ("[{source: a, epochs: 0}]", "greater than 0"),
        ("[{sauce: a, epochs: 1}]", "did you mean 'source'"),
    ],
)
def test_a_wrong_configuration_is_refused(tmp_path, rules, message):
    (tmp_path / "run.yaml").write_text(
        "model: {preset: tiny}\nstage: {trainable: [{pattern: '.*', learning_rate: 1}]}\nepochs: 1\nout: run\n"
        f"data: {{folders: a, mixture: {rules}}}\n"
    )
    with pytest.raises(UserError, match=re.escape(message)):
        load_config(tmp_path / "run.yaml")


def test_a_mixture_survives_the_saved_configuration(tmp_path):
    values = {
        "model": {"preset": "tiny"}, "stage": {"trainable": [{"pattern": ".*", "learning_rate": 1}]}, "epochs": 1,
        "out": "run", "data": {"folders": "a", "mixture": [{"source": "dota", "epochs": 2.5}]},
    }  # fmt: skip
    config = TrainConfig.model_validate(values)
    (tmp_path / "run.yaml").write_text(config.to_yaml())
    assert load_config(tmp_path / "run.yaml") == config
