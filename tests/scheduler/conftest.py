"""Fixtures of the scheduler's tests: no threads, no servers, a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mqtasks.clock import ManualClock
from tests.scheduler.harness import World


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def world(clock: ManualClock) -> Iterator[World]:
    made = World(clock)
    yield made
    made.service.close()
