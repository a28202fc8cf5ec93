"""A service over the memory store, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mqtasks.clock import ManualClock
from mqtasks.service import TaskService
from mqtasks.storage.memory import MemoryTaskStorage


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def service(clock: ManualClock) -> Iterator[TaskService]:
    with TaskService(MemoryTaskStorage(clock), clock=clock) as made:
        yield made
