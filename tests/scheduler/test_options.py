"""Options are checked when they are made, and the error names the field."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mqtasks.config import Settings
from mqtasks.errors import InvalidArgument
from mqtasks.scheduler import SchedulerOptions
from mqtasks.scheduler.options import _RANGES


def test_every_field_has_a_range_and_a_default_within_it():
    assert {name for name, _low, _high in _RANGES} == set(SchedulerOptions.__struct_fields__)
    SchedulerOptions()


@pytest.mark.parametrize(("name", "low", "high"), _RANGES)
def test_out_of_range_is_refused_by_name(name, low, high):
    values: list[Any] = [low - 1, high + 1, math.nan]
    for value in values:
        with pytest.raises(InvalidArgument, match=f"^{name}="):
            SchedulerOptions(**{name: value})


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"leader_ttl": 3.0, "leader_renew": 1.5}, "leader_renew"),
        ({"heartbeat_timeout": 2.0, "rescue_interval": 1.0}, "rescue_interval"),
        ({"fast_poll": 2.0, "slow_poll": 1.0}, "slow_poll"),
    ],
)
def test_fields_that_do_not_fit_together_are_refused(fields, wrong):
    with pytest.raises(InvalidArgument, match=f"^{wrong}=.* at "):
        SchedulerOptions(**fields)


def test_they_follow_the_settings_of_the_process():
    settings = Settings(
        leader_ttl=0.9,
        leader_renew=0.3,
        heartbeat_interval=0.5,
        heartbeat_timeout=2.0,
        fetch_timeout=2.0,
        max_crashes=7,
        safety_interval=4.0,
        retention_success=60.0,
        retention_failure=90.0,
    )
    options = SchedulerOptions.from_settings(settings)
    assert (options.leader_ttl, options.leader_renew, options.standby_poll) == (0.9, 0.3, 0.3)
    assert (options.heartbeat_timeout, options.rescue_interval) == (2.0, 0.2)
    assert (options.max_crashes, options.safety_poll) == (7, 4.0)
    assert (options.retention_success, options.retention_failure) == (60.0, 90.0)


def test_the_defaults_are_those_of_the_settings():
    assert SchedulerOptions.from_settings(Settings()) == SchedulerOptions()
