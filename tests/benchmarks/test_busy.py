"""What training keeps beside busy programs is told against its share of the cores."""

from __future__ import annotations

import pytest

from benchmarks.busy import fair_share, summary


@pytest.mark.parametrize(
    ("programs", "threads", "cores", "share"),
    [(0, 2, 2, 1.0), (1, 2, 2, 2 / 3), (2, 2, 2, 0.5), (4, 2, 2, 1 / 3), (1, 1, 2, 1.0), (3, 1, 2, 0.5)],
)
def test_the_fair_share_is_that_of_threads_which_all_get_as_much(programs, threads, cores, share):
    assert fair_share(programs, threads, cores) == pytest.approx(share)


def test_rates_are_medians_over_rounds_against_those_beside_nobody():
    wall, processor = "target_tokens_per_second", "target_tokens_per_processor_second"
    rates = {0: (100.0, 50.0), 2: (40.0, 45.0)}
    runs = [
        {"threads": 2, "programs": programs, "round": number, wall: speed + number, processor: by_processor}
        for programs, (speed, by_processor) in rates.items()
        for number in (-1, 0, 1)
    ]
    alone, beside = summary(runs, cores=2)
    assert (alone["of_alone"], alone["of_fair_share"]) == (1.0, 1.0)
    assert (beside["of_alone"], beside["fair_share"], beside["of_fair_share"]) == (0.4, 0.5, 0.8)
    assert beside["of_alone_by_processor_time"] == 0.9
