"""Errors of one rank reach all of them, whole and of their own kind."""

from __future__ import annotations

import os

import pytest

from mmrs.errors import RunFailure, StorageFailure, UserError
from tests.training.ranks import run_ranks
from training.step.ranks import Ranks, open_ranks


class OtherFailure(StorageFailure):
    """Of a class that only this module knows."""


FAILURES = [
    UserError('no "folder" at größe\nhere'),
    RunFailure("1 of 2"),
    StorageFailure("full"),
    OtherFailure("9 of a kind"),
]


def fail_on_first(result, number):
    with open_ranks("cpu") as ranks:
        try:
            ranks.first_then_all(lambda: fail(number) if ranks.is_first else None)
        except (UserError, RunFailure) as error:
            (result / f"{ranks.rank}.txt").write_text(f"{type(error).__name__}: {error}")
    os._exit(0)


def fail(number):
    raise FAILURES[number]


@pytest.mark.parametrize("number", range(len(FAILURES)))
def test_a_failure_of_the_first_rank_is_raised_on_all(tmp_path, number):
    assert run_ranks(2, fail_on_first, tmp_path, number, log=tmp_path / "log") == [0, 0]
    kind = type(FAILURES[number]).__name__
    assert (tmp_path / "0.txt").read_text() == f"{kind}: {FAILURES[number]}"
    known = kind if kind != "OtherFailure" else "StorageFailure"
    assert (tmp_path / "1.txt").read_text() == f"{known}: {FAILURES[number]}"


def test_one_rank_raises_the_error_itself():
    with pytest.raises(UserError) as caught:
        Ranks().first_then_all(lambda: fail(0))
    assert caught.value is FAILURES[0]
