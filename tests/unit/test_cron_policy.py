"""Policies of cron tasks: what is refused, and what is stored."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from mqtasks.errors import InvalidArgument
from mqtasks.model import CronPolicy, CronTask, TaskMetadata, changed_policy
from mqtasks.model.cron import details_to_bytes, with_details

PLAIN = CronTask(metadata=TaskMetadata("c", "work"), cron_expr="* * * * *")


def test_the_default_makes_up_for_one_hour_by_one_firing() -> None:
    policy = CronPolicy()
    policy.validate()
    assert (policy.misfire, policy.misfire_window, policy.overlap) == ("once", 3600.0, "allow")
    assert (policy.at_once, policy.looks_back) == (0, False)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("misfire", "twice", "use one of: skip, once, all"),
        ("overlap", None, "use one of: allow, skip, queue_one, cancel_running"),
        ("misfire_limit", 0, "must be between 1 and 100000"),
        ("misfire_limit", 1.5, "Expected `int`"),
        ("misfire_window", -1, "must be between 0 and 316224000"),
        ("misfire_window", math.nan, "must be between"),
        ("concurrency", 1001, "must be between 0 and 1000"),
        ("concurrency", "2", "Expected `int`"),
        ("jitter", 86_401, "must be between 0 and 86400"),
        ("start_at", -1, "must be between 0"),
        ("end_at", 10**15, "must be between 0"),
        ("pause_after_failures", -1, "must be between 0 and 1000"),
    ],
)
def test_what_is_no_policy_is_refused_by_name(field: str, value: object, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said) as caught:
        changed_policy(CronPolicy(), {field: value})
    assert caught.value.field == f"policy.{field}"


def test_an_end_before_the_start_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="must not be before start_at"):
        CronPolicy(start_at=10, end_at=9).validate()
    CronPolicy(start_at=10, end_at=10).validate()


def test_an_unknown_field_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidArgument, match=r"'retries'.*misfire, .*pause_after_failures"):
        changed_policy(CronPolicy(), {"retries": 1})


def test_all_that_has_no_column_is_stored_and_read_back() -> None:
    assert details_to_bytes(PLAIN) == b"{}"
    full = replace(
        PLAIN,
        policy=CronPolicy(misfire="all", overlap="queue_one", concurrency=2, jitter=0.5),
        pause_reason="holidays",
        counted_from=7,
        app="shop",
        digest="abc",
    )
    assert with_details(PLAIN, details_to_bytes(full)) == full
    assert with_details(PLAIN, None) == PLAIN  # a row of an older release
