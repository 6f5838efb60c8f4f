"""The stream and its pointer: whatever is interrupted, wherever and however often, nothing is lost or repeated."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrs.errors import UserError
from tests.training.data.planning.test_plan import SETTINGS, make_lengths
from training.data.loader import PackSampler
from training.data.planning.pointer import Pointer
from training.data.planning.sequence import PackSequence, rank_share

LENGTHS = make_lengths([[20 + number % 50, 30] for number in range(30)])
PACKS_PER_STEP = 6


def names(references):
    return [(reference.epoch, reference.number) for reference in references]


def uninterrupted(packs: int):
    stream = PackSequence(LENGTHS, SETTINGS)
    return names(islice(stream.walk(stream.start()), packs))


def run_part(pointer: Pointer | None, steps: int, world_size: int):
    """A process group of `world_size` ranks does `steps` steps: what all of them read, by step, and the new pointer."""
    ranks = []
    for rank in range(world_size):
        stream = PackSequence(LENGTHS, SETTINGS)
        start = stream.start() if pointer is None else Pointer.from_dict(json.loads(json.dumps(pointer.to_dict())))
        stream.check(start)
        sampler = PackSampler(stream, start, steps, PACKS_PER_STEP, rank, world_size)
        assert len(sampler) == steps * PACKS_PER_STEP // world_size
        ranks.append(list(sampler))
        after = start
        for _ in range(steps):
            after = stream.advance(after, PACKS_PER_STEP, samples=3)
    assert len({len(read) for read in ranks}) == 1
    share = PACKS_PER_STEP // world_size
    merged = []
    for step in range(steps):
        parts = [read[step * share : (step + 1) * share] for read in ranks]
        merged += [part[place] for place in range(share) for part in parts]
    return names(merged), after


def test_resume_at_every_step_of_two_epochs():
    epoch = len(PackSequence(LENGTHS, SETTINGS).plan(0))
    steps = 2 * epoch // PACKS_PER_STEP + 2
    expected = uninterrupted(steps * PACKS_PER_STEP)
    assert {number for number, _ in expected} >= {0, 1, 2}
    for cut in range(steps + 1):
        before, pointer = run_part(None, cut, 1)
        after, _ = run_part(pointer, steps - cut, 1)
        assert before + after == expected


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([1, 2, 3, 6])), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_resume_of_a_resume_in_any_world_size(parts):
    seen, pointer = [], None
    for steps, world_size in parts:
        read, pointer = run_part(pointer, steps, world_size)
        seen += read
    assert seen == uninterrupted(len(seen))
    assert pointer is not None and pointer.samples == 3 * sum(steps for steps, _ in parts)


@given(st.lists(st.tuples(st.integers(0, 25), st.sampled_from([1, 2, 3, 6])), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_a_pointer_may_stand_anywhere_in_a_step_or_an_epoch(parts):
    """Whatever number of packs was consumed, the next run's steps begin there, with any number of ranks."""
    stream = PackSequence(LENGTHS, SETTINGS)
    pointer, consumed = stream.start(), 0
    for packs, world_size in parts:
        read, _ = run_part(pointer, 2, world_size)
        assert read == uninterrupted(consumed + len(read))[consumed:]
        # The run is killed after some packs of its second step; a pointer counts what was consumed, not what was read.
        pointer, consumed = stream.advance(pointer, packs), consumed + packs


mixtures = st.sampled_from(["", "a=1/2;b=2", "a=3/2;b=1/3", "a=1;b=1"])


@given(mixtures, st.lists(st.tuples(st.integers(0, 4), st.sampled_from([1, 2, 3, 6])), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_a_mixture_resumes_in_any_world_size(mixture, parts):
    lengths = replace(LENGTHS, group=(LENGTHS.row % 2).astype(np.int32))
    streams = [PackSequence(lengths, replace(SETTINGS, mixture=mixture)) for _ in range(2)]
    expected = islice(streams[0].walk(streams[0].start()), PACKS_PER_STEP * sum(steps for steps, _ in parts))
    pointer, seen = streams[1].start(), []
    for steps, world_size in parts:
        ranks = [
            list(PackSampler(streams[1], pointer, steps, PACKS_PER_STEP, r, world_size)) for r in range(world_size)
        ]
        seen += [reference for together in zip(*ranks, strict=True) for reference in together]
        pointer = streams[1].advance(pointer, steps * PACKS_PER_STEP)
    assert [content(reference) for reference in seen] == [content(reference) for reference in expected]


def content(reference):
    return reference.epoch, reference.number, [(row, entries.tolist()) for row, entries in reference.units]


def test_resume_at_the_very_end_of_an_epoch_starts_the_next_one():
    stream = PackSequence(LENGTHS, SETTINGS)
    pointer = stream.advance(stream.start(), len(stream.plan(0)))
    assert (pointer.epoch, pointer.next_pack) == (1, 0)
    assert names(islice(stream.walk(pointer), 1)) == [(1, 0)]


def test_each_epoch_holds_every_dialogue_once():
    stream = PackSequence(LENGTHS, SETTINGS)
    entries: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for reference in stream.walk(stream.start()):
        if reference.epoch > 2:
            break
        entries[reference.epoch] += [int(entry) for _, unit in reference.units for entry in unit]
    assert all(sorted(seen) == list(range(len(LENGTHS))) for seen in entries.values())


def test_the_last_step_of_a_run_borrows_from_the_next_epoch():
    stream = PackSequence(LENGTHS, SETTINGS)
    packs = len(stream.plan(0)) + len(stream.plan(1))
    assert (
        (stream.steps(2, PACKS_PER_STEP) - 1) * PACKS_PER_STEP
        < packs
        <= stream.steps(2, PACKS_PER_STEP) * PACKS_PER_STEP
    )


def test_more_packs_in_a_step_than_in_an_epoch():
    stream = PackSequence(make_lengths([[50]] * 3), SETTINGS)
    pointer = stream.advance(stream.start(), 7)
    walked = names(islice(stream.walk(stream.start()), 8))
    assert walked[7] == (pointer.epoch, pointer.next_pack)


@pytest.mark.parametrize("field", [field.name for field in fields(SETTINGS)])
def test_a_pointer_into_another_stream_is_refused_by_name(field):
    pointer = PackSequence(LENGTHS, SETTINGS).start()
    old = getattr(SETTINGS, field)
    new = old + 1 if isinstance(old, int) else "other"
    with pytest.raises(UserError, match=field) as caught:
        PackSequence(LENGTHS, replace(SETTINGS, **{field: new})).check(pointer)
    assert repr(old) in str(caught.value) and repr(new) in str(caught.value) and "`out`" in str(caught.value)


def test_a_pointer_into_another_plan_of_the_same_settings_is_refused():
    pointer = PackSequence(LENGTHS, SETTINGS).start()
    with pytest.raises(UserError, match=r"was planned as"):
        PackSequence(make_lengths([[20]] * 30), SETTINGS).check(pointer)


def test_a_pointer_is_small_and_survives_json():
    stream = PackSequence(LENGTHS, SETTINGS)
    pointer = stream.advance(stream.start(), 3, samples=9, skipped=1)
    text = json.dumps(pointer.to_dict())
    # The settings, of which two are digests, take most of it: they name what differs when a pointer is refused.
    assert len(text) < 700
    assert Pointer.from_dict(json.loads(text)) == pointer


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"epoch": "1"},
        {"epoch": True},
        {"next_pack": -1},
        {"more": 1},
        {"settings": {}},
        {"settings": None},
    ],
)
def test_a_foreign_pointer_is_refused(change):
    values = PackSequence(LENGTHS, SETTINGS).start().to_dict()
    with pytest.raises(ValueError, match=r"stream pointer"):
        Pointer.from_dict(values | change)


def test_no_dialogue_that_fits_is_an_error_with_the_needed_size():
    with pytest.raises(UserError, match=r"at least 310"):
        PackSequence(make_lengths([[300], [400]]), SETTINGS).start()


def test_a_step_must_divide_among_the_ranks():
    with pytest.raises(ValueError, match=r"5 packs"):
        rank_share(list(range(5)), 0, 2)
