"""Streams give each sample once whatever shares them, and go on after any stop: simulated, then with real loaders."""

from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, IterableDataset

import mmrs
from mmrs.errors import UserError


def ids(samples):
    return [sample.id for sample in samples]


@given(st.integers(1, 5), st.integers(0, 3), st.integers(0, 99), st.booleans())
@settings(max_examples=30, deadline=None)
def test_ranks_share_an_epoch(location, world, epoch, seed, shuffle):
    data = mmrs.open(location)
    streams = [data.stream(shuffle=shuffle, seed=seed, shard=(rank, world)) for rank in range(world)]
    for stream in streams:
        stream.set_epoch(epoch)
    shares = [ids(stream) for stream in streams]
    assert [len(share) for share in shares] == [len(stream) for stream in streams]
    together = [name for share in shares for name in share]
    assert sorted(together) == sorted(data.table(["train"])["id"].to_pylist())


def test_the_order_depends_on_seed_and_epoch_alone(location):
    def order(seed, epoch, shuffle=True):
        stream = mmrs.open(location).stream(seed=seed, shuffle=shuffle)
        stream.set_epoch(epoch)
        return ids(stream)

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(*key)) for key in ((1, 0), (1, 1), (2, 0))}) == 3
    assert order(1, 0, shuffle=False) == order(2, 5, shuffle=False)


@pytest.mark.parametrize("stop", [0, 1, 11, 23])
def test_it_goes_on_after_a_stop(location, stop):
    whole = mmrs.open(location).stream(seed=3)
    expected = ids(whole)
    begun = mmrs.open(location).stream(seed=3)
    given_before = ids(islice(begun, stop))
    state = begun.state_dict()
    resumed = mmrs.open(location).stream(seed=3)
    resumed.load_state_dict(state)
    assert given_before + ids(resumed) == expected
    skipping = mmrs.open(location).stream(seed=3)
    skipping.skip(stop)
    assert ids(skipping) == expected[stop:]


def test_the_state_of_another_stream_is_refused(location):
    state = mmrs.open(location).stream(seed=3).state_dict()
    for other in ({"seed": 4}, {"seed": 3, "shard": (0, 2)}, {"seed": 3, "splits": ["test"]}, {"shuffle": False}):
        with pytest.raises(UserError, match="the state is of another stream: its "):
            mmrs.open(location).stream(**other).load_state_dict(state)


def test_tasks_choose_samples_and_their_dialogues(location):
    data = mmrs.open(location)
    found = list(data.stream(tasks=["detection-obb"]))
    assert found and all({d.task for d in sample.record.dialogues} == {"detection-obb"} for sample in found)
    with pytest.raises(UserError, match=r"no task 'detection-odd' \(did you mean 'detection-obb'\?\)"):
        data.stream(tasks=["detection-odd"])
    with pytest.raises(UserError, match="rank 2 of 2"):
        data.stream(shard=(2, 2))


class Names(IterableDataset):
    """As a program of somebody's: a stream inside a data set of PyTorch."""

    def __init__(self, stream):
        self.stream = stream

    def __iter__(self):
        return (sample.id for sample in self.stream)


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_of_a_loader_share_the_stream(location, workers):
    stream = mmrs.open(location).stream(seed=1)
    loader = DataLoader(Names(stream), batch_size=None, num_workers=workers)
    names = list(loader)
    assert sorted(names) == sorted(ids(mmrs.open(location).stream(shuffle=False)))
    # Workers give their samples in turn, so the order is that of the stream.
    assert names == ids(mmrs.open(location).stream(seed=1))
    stream.skip(9)
    assert list(loader) == names[9:]
