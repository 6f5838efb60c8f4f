"""The plan of an epoch: exactly once, within budget, a pure function of its arguments."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrs.shards.shuffle import block_shuffle
from training.data.planning.plan import Lengths, PlanSettings, best_fit, epoch_plan

SETTINGS = PlanSettings(
    data_set_id="d" * 64,
    tokenizer_digest="t" * 16,
    seed=0,
    tokens_per_pack=100,
    prefix_tokens=10,
    max_positions=80,
    shuffle_block_samples=3,
    shuffle_window_blocks=2,
    packing_window_units=7,
)


def make_lengths(dialogues_per_row: list[list[int]], rows_per_run: int = 5) -> Lengths:
    row = [number for number, dialogues in enumerate(dialogues_per_row) for _ in dialogues]
    tokens = [size for dialogues in dialogues_per_row for size in dialogues]
    run = np.arange(len(dialogues_per_row)) // rows_per_run
    return Lengths(
        np.array(row, np.int32), np.array(tokens, np.int32), np.ones(len(row), np.int32), run.astype(np.int32)
    )


def with_further(lengths: Lengths, images: list[int]) -> Lengths:
    """The same with so many images of 7 slots for each row in turn."""
    rows = len(lengths.shard_run)
    return replace(lengths, further=(np.resize(np.array(images, np.int32), rows) - 1) * 7)


plain_tables = st.lists(st.lists(st.integers(1, 120), min_size=1, max_size=6), min_size=1, max_size=60).map(
    make_lengths
)
several = st.builds(with_further, plain_tables, st.lists(st.integers(1, 4), min_size=1, max_size=5))
tables = plain_tables | several
plans = st.builds(
    lambda seed, block, blocks, window, positions: replace(
        SETTINGS,
        seed=seed,
        shuffle_block_samples=block,
        shuffle_window_blocks=blocks,
        packing_window_units=window,
        max_positions=positions,
    ),
    st.integers(0, 5),
    st.integers(1, 9),
    st.integers(1, 5),
    st.integers(1, 40),
    st.integers(20, 200),
)


@given(tables, plans, st.integers(0, 3))
@settings(max_examples=200, deadline=None)
def test_every_dialogue_is_in_one_pack_or_reported(lengths, plan_settings, epoch):
    plan = epoch_plan(lengths, plan_settings, epoch)
    planned = [int(entry) for number in range(len(plan)) for _, entries in plan.pack(number) for entry in entries]
    assert sorted(planned + plan.excluded.tolist()) == list(range(len(lengths)))
    room = min(plan_settings.tokens_per_pack, plan_settings.max_positions) - plan_settings.prefix_tokens
    sizes = lengths.tokens + lengths.further_of(lengths.row)
    assert plan.excluded.tolist() == [entry for entry, size in enumerate(sizes) if size > room]


@given(tables, plans)
@settings(max_examples=200, deadline=None)
def test_no_pack_is_over_budget_and_units_show_one_image(lengths, plan_settings):
    plan = epoch_plan(lengths, plan_settings, 0)
    for number in range(len(plan)):
        used = 0
        for row, entries in plan.pack(number):
            assert len(entries) and set(lengths.row[entries].tolist()) == {row}
            further = int(lengths.further_of(np.array([row]))[0])
            used += plan_settings.prefix_tokens + further + int(lengths.tokens[entries].sum())
        assert used == plan.pack_tokens[number] <= plan_settings.tokens_per_pack


@given(tables, plans, st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_equal_arguments_give_equal_plans(lengths, plan_settings, epoch):
    first, second = (epoch_plan(lengths, plan_settings, epoch) for _ in range(2))
    assert first.digest == second.digest
    assert all(np.array_equal(getattr(first, name), getattr(second, name)) for name in ("unit_row", "pack_start"))


@given(tables, plans)
@settings(max_examples=100, deadline=None)
def test_an_image_is_split_only_when_it_exceeds_a_pack(lengths, plan_settings):
    plan = epoch_plan(lengths, plan_settings, 0)
    for row in range(len(lengths.shard_run)):
        mine = np.setdiff1d(np.flatnonzero(lengths.row == row), plan.excluded)
        units = int((plan.unit_row == row).sum())
        prefix = plan_settings.prefix_tokens + int(lengths.further_of(np.array([row]))[0])
        if prefix + lengths.tokens[mine].sum() <= plan_settings.tokens_per_pack:
            assert units == (len(mine) > 0)
        else:
            assert 2 <= units <= len(mine)


@given(plain_tables, plans)
@settings(max_examples=20, deadline=None)
def test_one_image_each_is_planned_as_if_nothing_were_said(lengths, plan_settings):
    alone = replace(lengths, further=np.zeros(len(lengths.shard_run), np.int32))
    assert epoch_plan(alone, plan_settings, 1).digest == epoch_plan(lengths, plan_settings, 1).digest


def test_seed_epoch_and_data_set_change_the_order():
    lengths = make_lengths([[20, 30]] * 60)
    plans = [
        epoch_plan(lengths, SETTINGS, 0),
        epoch_plan(lengths, SETTINGS, 1),
        epoch_plan(lengths, replace(SETTINGS, seed=1), 0),
        epoch_plan(lengths, replace(SETTINGS, data_set_id="e" * 64), 0),
    ]
    assert len({plan.unit_row.tobytes() for plan in plans}) == len({plan.digest for plan in plans}) == 4


def test_the_plan_is_the_same_in_another_process():
    """Neither hash randomisation nor library state enters the plan."""
    code = (
        "from tests.training.data.planning.test_plan import *;"
        "print(epoch_plan(make_lengths([[20, 30], [90], [5, 70, 60]] * 9), SETTINGS, 3).digest)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    here = epoch_plan(make_lengths([[20, 30], [90], [5, 70, 60]] * 9), SETTINGS, 3).digest
    assert digests == {here + "\n"}


@given(st.lists(st.integers(1, 50), max_size=80))
@settings(max_examples=100, deadline=None)
def test_best_fit_leaves_at_most_one_bin_half_empty(sizes):
    bin_of = best_fit(np.array(sizes, np.int64), 50)
    bins = [np.flatnonzero(bin_of == number).tolist() for number in range(bin_of.max(initial=-1) + 1)]
    assert sorted(item for members in bins for item in members) == list(range(len(sizes)))
    assert all(sum(sizes[item] for item in members) <= 50 for members in bins)
    # The first item of a bin fitted no earlier one, so of two half-empty bins the later would not exist.
    assert sum(sum(sizes[item] for item in members) * 2 <= 50 for members in bins) <= 1


@given(st.integers(1, 200), st.integers(1, 20), plans)
@settings(max_examples=100, deadline=None)
def test_reads_stay_inside_windows_of_blocks(rows, rows_per_run, plan_settings):
    run = (np.arange(rows) // rows_per_run).astype(np.int32)
    block_samples, window_blocks = plan_settings.shuffle_block_samples, plan_settings.shuffle_window_blocks
    order = np.argsort(block_shuffle(run, (plan_settings.seed,), block_samples, window_blocks))
    assert sorted(order.tolist()) == list(range(rows))
    size = min(rows_per_run, plan_settings.shuffle_block_samples)
    blocks = run.astype(np.int64) * 10_000 + (np.arange(rows) % rows_per_run) // plan_settings.shuffle_block_samples
    last_seen, first_seen = {}, {}
    for place, block in enumerate(blocks[order]):
        first_seen.setdefault(block, place)
        last_seen[block] = place
    longest = max(last_seen[block] - first_seen[block] + 1 for block in first_seen)
    assert longest <= size * plan_settings.shuffle_window_blocks


def test_real_sized_packs_have_little_padding():
    rng = np.random.default_rng(0)
    lengths = make_lengths([rng.integers(20, 160, rng.integers(1, 5)).tolist() for _ in range(3000)], 500)
    plan = epoch_plan(
        lengths,
        replace(SETTINGS, tokens_per_pack=2048, prefix_tokens=67, max_positions=1024, packing_window_units=4096),
        0,
    )
    assert 1 - plan.pack_tokens.sum() / (len(plan) * 2048) < 0.02


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_and_one(count):
    plan = epoch_plan(make_lengths([[5]] * count), SETTINGS, 0)
    assert len(plan) == count
