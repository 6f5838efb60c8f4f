"""Trying again: how often, how long, and with which error it ends."""

import pytest

from mmrs.errors import RunFailure, UserError
from mmrs.storage.retry import Patience, retried


def failing(errors):
    left = iter(errors)

    def request():
        error = next(left, None)
        if error is not None:
            raise error
        return "answer"

    return request


def verdict(error, tried, is_last):
    if isinstance(error, FileNotFoundError):
        return UserError(f"refused by try {tried}")
    return RunFailure(f"{tried} tries, the last: {error}") if is_last else None


def test_it_ends_with_the_first_success():
    assert retried(failing([OSError(), OSError()]), (OSError,), [0, 0], verdict) == "answer"


def test_it_ends_with_the_last_failure_or_the_first_final_one():
    with pytest.raises(RunFailure, match="3 tries, the last: c"):
        retried(failing([OSError("a"), OSError("b"), OSError("c")]), (OSError,), [0, 0], verdict)
    with pytest.raises(UserError, match="refused by try 2"):
        retried(failing([OSError(), FileNotFoundError()]), (OSError,), [0, 0, 0], verdict)
    with pytest.raises(KeyError):
        retried(failing([KeyError()]), (OSError,), [0, 0], verdict)


def test_no_traceback_leads_to_the_request():
    raised = OSError("request with its headers")
    with pytest.raises(RunFailure) as caught:
        retried(failing([raised]), (OSError,), [], lambda *_: RunFailure("failed"))
    assert caught.value.__context__ is None and caught.value.__cause__ is None


def test_waits_double_up_to_the_longest():
    waits = list(Patience(tries=7, first_wait_seconds=1, longest_wait_seconds=8).waits("x"))
    assert len(waits) == 6
    for wait, longest in zip(waits, (1, 2, 4, 8, 8, 8), strict=True):
        assert longest / 2 <= wait <= longest
