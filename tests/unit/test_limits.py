"""Rates as text and as buckets, label rules, and what they do to lanes (S3, M13)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtasks.errors import InvalidArgument
from mqtasks.model import (
    LabelRule,
    RateLimit,
    TaskMetadata,
    TaskOptions,
    label,
    lane_of,
    options_from_bytes,
    options_to_bytes,
)

SECOND = 1_000_000


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10/s", RateLimit(10)),
        ("100/m", RateLimit(100, 60.0)),
        ("5/h", RateLimit(5, 3600.0)),
        ("7/d", RateLimit(7, 86_400.0)),
        ("1/30s", RateLimit(1, 30.0)),
        ("10/s burst 5", RateLimit(10, 1.0, 5)),
    ],
)
def test_s3_rates_are_read_as_they_are_shown(text, rate):
    assert RateLimit.parse(text) == rate
    assert str(rate) == text


@pytest.mark.parametrize("text", ["", "10", "10/", "10/x", "ten/s", "-1/s", "1/0s", "0/s", "1.5/s"])
def test_s3_other_texts_are_refused_by_name(text):
    with pytest.raises(InvalidArgument, match=r"^options\.key_rate_limit"):
        TaskOptions(concurrency_key="k", key_rate_limit=text).validate()


@given(
    rate=st.builds(
        RateLimit,
        st.integers(1, 500),
        st.sampled_from([0.5, 1.0, 60.0]),
        st.integers(0, 50),
    ),
    steps=st.lists(st.integers(0, 400_000), min_size=1, max_size=60),
)
def test_s3_no_window_of_a_second_holds_more_than_limit_and_burst(rate, steps):
    """Whoever takes each token as soon as he looks stays below count / period + burst."""
    now = full_at = 10**15
    taken: list[int] = []
    for step in steps:
        now += step
        count = rate.tokens(full_at, now)
        taken += [now] * count
        full_at = rate.take(full_at, now, count)
        assert rate.tokens(full_at, now) == 0
        wait = rate.next_token_us(full_at, now)
        assert rate.tokens(full_at, now + wait) >= 1
        assert rate.tokens(full_at, now + wait - 1) == 0
    most = rate.per_second + rate.most_burst
    for start in taken:
        assert sum(start <= at < start + SECOND for at in taken) <= most + 1e-6


@given(rate=st.builds(RateLimit, st.integers(1, 1000)), late=st.lists(st.integers(0, 99_999)))
def test_s3_a_pick_up_that_varies_by_a_tenth_of_a_second_is_allowed_for(rate, late):
    now, full_at, started = 10**15, 0, []
    for i in range(80):
        count = rate.tokens(full_at, now)
        full_at = rate.take(full_at, now, count)
        started += [now + (late[i % len(late)] if late else 0)] * count
        now += 25_000
    started.sort()
    for start in started[::3]:
        inside = sum(start <= at < start + SECOND for at in started)
        assert inside <= rate.per_second + rate.most_burst


def test_s3_a_clock_set_back_stops_no_rate_for_longer_than_its_bucket():
    rate = RateLimit(10, burst=5)
    full_at = rate.take(0, 10**15, 4)
    assert rate.next_token_us(full_at, 10**15 - 3600 * SECOND) <= SECOND


# -- labels and resources -------------------------------------------------------------------------


def test_m13_rules_survive_storage():
    options = TaskOptions(
        labels={"zone": label.in_("b", "a"), "gpu": label.exists(), "os": "linux"},
        resources={"gpu": 1},
        rate_limit="3/s",
        tenant="t",
    )
    options.validate()
    assert options_from_bytes(options_to_bytes(options)) == options


@pytest.mark.parametrize(
    ("field", "options"),
    [
        (r"options\.labels", {"labels": {"a": 3}}),
        (r"options\.labels", {"labels": {"a": LabelRule("in")}}),
        (r"options\.labels", {"labels": {"a": LabelRule("exists", ("x",))}}),
        (r"options\.resources", {"resources": {"gpu": 0}}),
        (r"options\.resources", {"resources": {"": 1}}),
        (r"options\.resources", {"resources": {"gpu": float("nan")}}),
        (r"options\.key_concurrency", {"key_concurrency": 2}),
        (r"options\.key_concurrency", {"concurrency_key": "k", "key_concurrency": -1}),
        (r"options\.key_rate_limit", {"key_rate_limit": "1/s"}),
        (r"options\.rate_limit\.count", {"rate_limit": RateLimit(0)}),
        (r"options\.rate_limit\.period", {"rate_limit": RateLimit(1, 0)}),
        (r"options\.rate_limit\.burst", {"rate_limit": RateLimit(1, 1, -1)}),
        (r"options\.tenant", {"tenant": "x" * 256}),
        (r"options\.concurrency_key", {"concurrency_key": "x" * 256}),
    ],
)
def test_limits_out_of_range_are_refused_by_name(field, options):
    with pytest.raises(InvalidArgument, match=f"^{field}"):
        TaskOptions(**options).validate()


@pytest.mark.parametrize("make", [label.in_, label.not_])
def test_a_rule_needs_values(make):
    with pytest.raises(InvalidArgument, match="one or more values"):
        make()


def test_p7_each_limit_makes_a_lane_of_its_own_and_none_moves_the_old_ones():
    variants: list[dict[str, Any]] = [
        {},
        {"concurrency_key": "a"},
        {"concurrency_key": "b"},
        {"concurrency_key": "a", "key_concurrency": 2},
        {"concurrency_key": "a", "key_concurrency": 0},
        {"concurrency_key": "a", "key_rate_limit": "1/s"},
        {"rate_limit": "1/s"},
        {"rate_limit": "2/s"},
        {"tenant": "a"},
        {"labels": {"x": label.in_("a")}},
        {"labels": {"x": label.not_("a")}},
        {"labels": {"x": label.exists()}},
        {"resources": {"gpu": 1}},
        {"resources": {"gpu": 2}},
    ]
    lanes = [lane_of(TaskMetadata("t", "work", options=TaskOptions(**item))) for item in variants]
    assert len(set(lanes)) == len(lanes)
    assert lanes[0] == 923510679550031
    for same in (RateLimit(1), RateLimit(1, 1), RateLimit(1, 1.0, 0)):
        options = TaskOptions(rate_limit=same)
        stored = options_from_bytes(options_to_bytes(options))
        for item in (options, stored):
            assert lane_of(TaskMetadata("t", "work", options=item)) == lanes[6]
