"""What all random operations share: two storages, names, and what callers believe."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mqtasks.clock import ManualClock
from mqtasks.conditions import where
from mqtasks.model import (
    LIVE,
    ExecuteResult,
    Leadership,
    NewTask,
    ResultCode,
    RunnerRecord,
    TaskEpoch,
    TaskMetadata,
    TaskOptions,
    TaskStatus,
)
from mqtasks.storage.contract import (
    Allocation,
    TaskStorage,
    WriteReport,
)
from mqtasks.storage.memory import MemoryTaskStorage
from tests.support.comparing import Pair, Side

LEASE_MS = 15_000
NAMES = [f"task {n}" for n in range(8)]
RUNNERS = ["r1", "r2", "foreign"]  # the last one is never registered

some_names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=6)
registered = st.sampled_from(RUNNERS[:2])
writers = st.sampled_from([None, None, None, *RUNNERS])
"""None: the owner of tasks among those named, see `Comparison.writer`."""
beliefs = st.sampled_from([0, 0, 0, 0, 0, 0, -1, 1])
"""What a caller believes an epoch or generation to be, compared with the truth."""
usually = st.sampled_from([True, True, True, False])
statuses = st.sampled_from(TaskStatus)
options = st.builds(
    TaskOptions,
    priority=st.sampled_from([0, 0, 5, -5]),
    delay_duration=st.sampled_from([0, 0, 0, 2, 20]),
    max_reassign_times=st.sampled_from([0, 0, 1]),
    deadline=st.sampled_from([0, 0, 0, 2, 20]),
    labels=st.sampled_from([{}, {}, {"zone": "a"}]),
    concurrency_key=st.sampled_from(["", "", "a", "b"]),
    tenant=st.sampled_from(["", "", "t"]),
    retention=st.sampled_from([None, None, 0, 60]),
)
executors = st.sampled_from(["work", 7])
metadata = st.builds(TaskMetadata, st.sampled_from(NAMES), executors, st.just(b"x"), options)
new_tasks = st.lists(st.builds(NewTask, metadata, st.sampled_from(["", "parent"])), max_size=6)
results = st.sampled_from(
    [ExecuteResult(), ExecuteResult(value=b"1"), ExecuteResult(ResultCode.FAILED, "boom")]
)


class Comparison(RuleBasedStateMachine):
    """Two storages side by side; every rule does one operation to both."""

    open_subject: Callable[[ManualClock], TaskStorage]

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.opened = contextlib.ExitStack()
        model = self.opened.enter_context(contextlib.closing(MemoryTaskStorage(self.clock)))
        subject = self.opened.enter_context(contextlib.closing(self.open_subject(self.clock)))
        self.pair = Pair(model, subject)
        self.leadership = Leadership("leader", "one", 0)

    def teardown(self) -> None:
        self.opened.close()

    def do(self, operation: Callable[[Side], Any]) -> Any:
        return self.pair.do(operation)

    def known(self, names: Iterable[str], belief: int = 0) -> list[tuple[str, int]]:
        """Return the names with the epochs that a caller believes them to have."""
        stored = self.pair.model.find(names)
        return [
            (name, max(0, stored[name].epoch + belief) if name in stored else 1) for name in names
        ]

    def epochs(self, names: Iterable[str], belief: int) -> Callable[[Side], list[TaskEpoch]]:
        known = self.known(names, belief)
        return lambda side: [TaskEpoch(side.id_of(name), epoch) for name, epoch in known]

    def writer(self, runner: str | None, names: list[str]) -> tuple[str, list[str]]:
        """Return who writes to which tasks.

        With a runner it is that one and those names. With None somebody writes who may: the owner
        of one of the names (or of any task), to what he owns, and to the last of the names.
        """
        if runner is not None:
            return runner, names
        live = {
            item.metadata.id: item.runner
            for item in self.pair.model.query(where.status.in_(list(LIVE)))
        }
        owners = [live[name] for name in names if name in live] or [*live.values(), RUNNERS[0]]
        mine = [name for name, owner in live.items() if owner == owners[0]]
        return owners[0], [*mine, names[-1]] if names[-1] not in mine else mine

    def generation(self, runner_id: str, belief: int = 0) -> int:
        stored = {item.id: item.generation for item in self.pair.model.runners()}
        return max(0, stored.get(runner_id, 0) + belief)

    def lead(self, leading: bool) -> None:
        held = leading and self.do(
            lambda side: side.storage.acquire_lease("leader", self.leadership.holder, 60_000)
        )
        self.leadership = held or self.leadership

    @initialize()
    def begin(self) -> None:
        """Let two runners have tasks, one of them started, and two tasks wait."""
        self.lead(leading=True)
        tasks = [NewTask(TaskMetadata(name, "work")) for name in NAMES[:5]]
        self.do(lambda side: side.storage.create_tasks(tasks))
        for runner, mine in (("r1", NAMES[:2]), ("r2", NAMES[2:3])):
            self.do(partial(_begin_runner, RunnerRecord(id=runner, holder="one")))
            self.do(partial(_begin_tasks, runner, mine, self.leadership))

    @invariant()
    def both_look_alike(self) -> None:
        self.pair.check(RUNNERS)

    @rule(seconds=st.sampled_from([0.001, 1, 5, 16, 90]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)


def _begin_runner(record: RunnerRecord, side: Side) -> int:
    return side.storage.register_runner(record, LEASE_MS, 3)


def _begin_tasks(runner: str, names: list[str], leadership: Leadership, side: Side) -> WriteReport:
    ids = [side.id_of(name) for name in names]
    given = [Allocation(task_id, 0, runner, 1) for task_id in ids]
    assert side.storage.allocate_many(given, leadership) == frozenset(ids)
    return side.storage.mark_started(runner, [TaskEpoch(ids[0], 1)])
