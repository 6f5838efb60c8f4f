"""Cycles are looked for more seldom while a task runs, and as before after it."""

import gc

import pytest

from mmrs.engines.garbage import rare_collections
from mmrs.engines.processes import ProcessPool


def _threshold(task: int) -> int:
    return gc.get_threshold()[0]


def test_the_collector_is_as_it_was_afterwards():
    before = gc.get_threshold()
    with pytest.raises(KeyError), rare_collections():
        assert gc.get_threshold()[0] > before[0]
        raise KeyError
    assert gc.get_threshold() == before


def test_a_collector_that_is_off_stays_off():
    before = gc.get_threshold()
    gc.set_threshold(0)
    try:
        with rare_collections():
            assert gc.get_threshold()[0] == 0
    finally:
        gc.set_threshold(*before)


def test_tasks_run_with_it():
    ((_, found),) = ProcessPool(1).run(_threshold, [0], str, print)
    assert found >= 50_000 and gc.get_threshold()[0] < 50_000
