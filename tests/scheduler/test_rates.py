"""How much may wait at a runner follows from what it was seen to do (P6)."""

from __future__ import annotations

import math

import pytest

from mqtasks.scheduler.rates import RunnerPace


def run(pace: RunnerPace, seconds: float, rate: float, *, live: int = 300, start: float = 0.0):
    """Keep a runner of parallelism 10 at ``live`` tasks while it ends ``rate`` per second."""
    now = start
    while now < start + seconds:
        now += 0.1
        done = round(rate * 0.1)
        pace.seen(live - done, 10, now)
        pace.allocated(done)
    return now


def test_p6_a_new_runner_may_hold_its_parallelism_waiting():
    pace = RunnerPace(0, 10, 0.0)
    assert pace.may_wait(10, 256) == 10
    assert pace.may_wait(10, 4) == 4
    assert pace.may_wait(10, 0) == 0


def test_p6_a_fast_runner_may_hold_what_it_starts_within_a_fifth_of_a_second():
    pace = RunnerPace(300, 10, 0.0)
    run(pace, 4.0, 5_000.0, live=1000)
    assert pace.may_wait(10, 100_000) == pytest.approx(1_000, rel=0.05)
    assert pace.may_wait(10, 256) == 256


def test_p6_a_slow_runner_holds_next_to_nothing():
    pace = RunnerPace(300, 10, 0.0)
    now = run(pace, 2.0, 100.0)
    run(pace, 20.0, 0.0, start=now)
    assert pace.may_wait(10, 256) == 0


def test_a_lack_of_work_is_not_slowness():
    pace = RunnerPace(300, 10, 0.0)
    now = run(pace, 4.0, 1_000.0)
    before = pace.rate
    for _ in range(100):
        now += 1.0
        pace.seen(0, 10, now)
    assert pace.rate == pytest.approx(before, rel=0.1)


def test_looks_in_quick_succession_count_as_one():
    pace = RunnerPace(300, 10, 0.0)
    run(pace, 1.0, 1_000.0)
    before = pace.rate
    pace.seen(200, 10, 1.1001)  # a hundred at once, a tenth of a millisecond later
    assert pace.rate == before


def test_how_long_a_waiting_list_lasts():
    pace = RunnerPace(0, 10, 0.0)
    assert pace.lasts(0) == 0.0
    assert pace.lasts(-3) == 0.0
    assert math.isinf(pace.lasts(5))
    pace.rate = 100.0
    assert pace.lasts(5) == 0.05
