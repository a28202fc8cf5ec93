"""Backoff and the decision to run again."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtasks.errors import PayloadError
from mqtasks.model import TaskOptions
from mqtasks.retry import GiveUp, RunAgain, decide, retry_delay_ms


class Fixed:
    """An rng that always says the same."""

    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        return self.value


EXACT = TaskOptions(max_retry_times=3, retry_interval=0.5, backoff_factor=3.0, jitter=0.0)


def test_delay_grows_by_the_factor():
    delays = [retry_delay_ms(EXACT, attempt, Fixed(0.9)) for attempt in (1, 2, 3, 4)]
    assert delays == [500, 1500, 4500, 13500]


def test_factor_one_keeps_the_interval():
    options = TaskOptions(retry_interval=2.0, backoff_factor=1.0, jitter=0.0)
    assert {retry_delay_ms(options, attempt, Fixed(0)) for attempt in range(1, 50)} == {2000}


@pytest.mark.parametrize("attempt", [20, 5_000, 10**9])
def test_delay_stops_at_the_maximum_however_often_it_failed(attempt):
    options = TaskOptions(retry_interval=1.0, backoff_factor=10.0, backoff_max=60.0, jitter=0.0)
    assert retry_delay_ms(options, attempt, Fixed(0)) == 60_000


def test_no_interval_means_no_delay_however_often_it_failed():
    options = TaskOptions(retry_interval=0.0, backoff_factor=10.0)
    assert [retry_delay_ms(options, n, Fixed(0.5)) for n in (1, 5_000)] == [0, 0]


def test_jitter_is_the_share_that_is_random_and_only_shortens():
    options = TaskOptions(retry_interval=10.0, jitter=0.25)
    assert retry_delay_ms(options, 1, Fixed(0.0)) == 10_000
    assert retry_delay_ms(options, 1, Fixed(1.0)) == 7_500


@given(
    interval=st.floats(0, 1e6),
    factor=st.floats(1, 100),
    cap=st.floats(0, 1e6),
    jitter=st.floats(0, 1),
    attempt=st.integers(1, 10_000),
    seed=st.integers(),
)
def test_delay_is_never_negative_nor_over_the_maximum(
    *, interval, factor, cap, jitter, attempt, seed
):
    options = TaskOptions(
        retry_interval=interval, backoff_factor=factor, backoff_max=cap, jitter=jitter
    )
    delay = retry_delay_ms(options, attempt, random.Random(seed))
    assert 0 <= delay <= round(cap * 1000)


def test_retries_until_they_are_used_up():
    decisions = [decide(EXACT, attempt, RuntimeError("x"), Fixed(0)) for attempt in (1, 2, 3, 4)]
    assert decisions == [
        RunAgain(500),
        RunAgain(1500),
        RunAgain(4500),
        GiveUp("all 3 retries are used up"),
    ]


def test_no_retry_unless_asked_for():
    assert decide(TaskOptions(), 1, RuntimeError("x"), Fixed(0)) == GiveUp("max_retry_times is 0")


def test_unknown_error_is_retried():
    assert decide(EXACT, 1, None, Fixed(0)) == RunAgain(500)


def test_payload_error_is_final():
    answer = decide(EXACT, 1, PayloadError("argument 'x'"), Fixed(0))
    assert answer == GiveUp("another run would meet the same payload")
