"""The storages that the conformance suite runs over, each empty, on a clock set by hand."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mqtasks.clock import Clock, ManualClock
from mqtasks.storage.contract import TaskStorage
from mqtasks.storage.memory import MemoryTaskStorage
from tests.support.stage import Stage

Opener = Callable[[Clock | None], TaskStorage]
"""Opens the one database of a test; again and again for the same rows, if it is shared."""


def _available(name: str) -> bool:
    spec = importlib.util.find_spec(f"mqtasks.storage.{name}")
    return spec is not None and spec.origin is not None and name in OPENERS


def _open_memory(request: pytest.FixtureRequest, opened: contextlib.ExitStack) -> Opener:
    made: list[TaskStorage] = []

    def open_one(clock: Clock | None) -> TaskStorage:
        if not made:
            made.append(opened.enter_context(contextlib.closing(MemoryTaskStorage(clock))))
        return made[0]

    return open_one


OPENERS = {"memory": _open_memory}
BACKENDS = ["memory", *(name for name in ("sqlite", "mysql") if _available(name))]


@pytest.fixture
def clock() -> ManualClock:
    """The clock of the storage under test, unix ms 1,700,000,000,000 at first."""
    return ManualClock()


@pytest.fixture(params=BACKENDS)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """A function that opens the test's database; it may be opened several times."""
    with contextlib.ExitStack() as opened:
        yield OPENERS[request.param](request, opened)


@pytest.fixture
def storage(opener: Opener, clock: ManualClock) -> TaskStorage:
    """An empty storage that tells the time of `clock`."""
    return opener(clock)


@pytest.fixture
def stage(storage: TaskStorage, clock: ManualClock) -> Stage:
    """The storage with short-hands."""
    return Stage(storage, clock)
