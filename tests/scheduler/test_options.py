"""Options are checked when they are made, and the error names the field."""

from __future__ import annotations

import math
from typing import Any

import pytest

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
