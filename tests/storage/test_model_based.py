"""Random operations on a SQL storage and on memory: same answers, same rows, step by step.

Deterministic: the same examples in every run. To look for others, drop ``derandomize``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from mqtasks.clock import ManualClock
from mqtasks.conditions import where
from mqtasks.model import (
    AsyncTask,
    AttemptOutcome,
    CronTask,
    ExecuteResult,
    Leadership,
    NewTask,
    ResultCode,
    RunnerRecord,
    RunnerState,
    TaskEpoch,
    TaskMetadata,
    TaskOptions,
    TaskStatus,
    firing_id,
)
from mqtasks.storage.contract import (
    Allocation,
    Completion,
    ExecutorLimit,
    Renewal,
    RetryRequest,
    TaskStorage,
    Trigger,
)
from mqtasks.storage.memory import MemoryTaskStorage
from tests.support.backends import MAKERS, SQL_BACKENDS
from tests.support.comparing import Pair, Side
from tests.support.stage import row

# The biggest part of the time goes into commits; MySQL's are the slowest.
EXAMPLES = {"sqlite": 40, "mysql": 25}
STEPS = 30

LEASE_MS = 15_000
NAMES = [f"task {n}" for n in range(8)]
RUNNERS = ["r1", "r2", "foreign"]  # the last one is never registered
CRONS = ["cron a", "cron b"]

names = st.lists(st.sampled_from(NAMES), max_size=5)
one_runner = st.sampled_from(RUNNERS)
registered = st.sampled_from(RUNNERS[:2])
options = st.builds(
    TaskOptions,
    priority=st.sampled_from([0, 0, 5, -5]),
    delay_duration=st.sampled_from([0, 0, 0, 2, 20]),
    max_reassign_times=st.sampled_from([0, 0, 1]),
    labels=st.sampled_from([{}, {}, {"zone": "a"}]),
    retention=st.sampled_from([None, None, 0, 60]),
)
metadata = st.builds(
    TaskMetadata, st.sampled_from(NAMES), st.sampled_from(["work", 7]), st.just(b""), options
)
new_tasks = st.lists(st.builds(NewTask, metadata, st.sampled_from(["", "parent"])), max_size=6)
results = st.sampled_from(
    [
        ExecuteResult(),
        ExecuteResult(),
        ExecuteResult(value=b"1"),
        ExecuteResult(ResultCode.FAILED, "boom"),
    ]
)
# What a caller believes the epoch to be, compared with the truth.
beliefs = st.sampled_from([0, 0, 0, 0, 0, 0, -1, 1])
statuses = st.sampled_from(TaskStatus)


class Comparison(RuleBasedStateMachine):
    """Each rule does one operation to both storages."""

    open_subject: Callable[[ManualClock], TaskStorage]

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.opened = contextlib.ExitStack()
        model = self.opened.enter_context(contextlib.closing(MemoryTaskStorage(self.clock)))
        subject = self.opened.enter_context(contextlib.closing(self.open_subject(self.clock)))
        self.pair = Pair(model, subject)
        self.leadership = Leadership("leader", "nobody", 0)

    def teardown(self) -> None:
        self.opened.close()

    # -- helpers -------------------------------------------------------------------------------

    def do(self, operation: Callable[[Side], Any]) -> Any:
        return self.pair.do(operation)

    def epoch(self, name: str, belief: int = 0) -> int:
        stored = self.pair.model.find([name])
        return max(0, stored[name].epoch + belief) if name in stored else 1

    def generation(self, runner_id: str, belief: int = 0) -> int:
        stored = {item.id: item.generation for item in self.pair.model.runners()}
        return max(0, stored.get(runner_id, 0) + belief)

    def epochs(self, some: list[str], belief: int) -> Callable[[Side], list[TaskEpoch]]:
        known = [(name, self.epoch(name, belief)) for name in some]
        return lambda side: [TaskEpoch(side.id_of(name), epoch) for name, epoch in known]

    # -- a start that is worth looking at ------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        tasks = [NewTask(TaskMetadata(name, "work")) for name in NAMES[:5]]
        self.do(lambda side: side.storage.create_tasks(tasks))
        self.register("r1", "one", 3)
        self.acquire("one")
        self.allocate(NAMES[:3], "r1", 0, 0, by_hand=False, limits=[])

    @invariant()
    def both_look_alike(self) -> None:
        self.pair.check(RUNNERS)

    @rule(seconds=st.sampled_from([0.001, 1, 1, 5, 16, 90]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    # -- task records --------------------------------------------------------------------------

    @rule(tasks=new_tasks)
    def create(self, tasks: list[NewTask]) -> None:
        self.do(lambda side: side.storage.create_tasks(tasks))

    @rule(
        name=st.sampled_from(NAMES),
        status=statuses,
        runner=one_runner,
        numbers=st.lists(st.integers(0, 3), min_size=4, max_size=4),
        result=results,
        task_options=options,
    )
    def add(self, name, status, runner, numbers, result, task_options) -> None:
        owned = status not in {TaskStatus.CREATED, TaskStatus.SCHEDULED}
        ended = status is TaskStatus.COMPLETED
        now = self.clock.now_ms()
        task = row(
            name,
            options=task_options,
            status=status,
            runner=runner if owned else "",
            generation=numbers[0] if owned else 0,
            epoch=numbers[1],
            crashes=numbers[2],
            reassigned=numbers[3],
            started_at=now - 5 if owned and numbers[0] else 0,
            last_heartbeat=now - 3 if owned else 0,
            completed_at=now - 1 if status.is_final else 0,
            execute_result=result if ended else None,
        )
        self.do(lambda side: side.storage.add(task, task))

    @rule(some=names, priority=st.integers(-2, 2), status=statuses)
    def update(self, some: list[str], priority: int, status: TaskStatus) -> None:
        def write(side: Side) -> int:
            stored = side.storage.find(some).values()
            changed = [
                replace(
                    item,
                    priority=priority,
                    parent_task_id="edited",
                    metadata=replace(item.metadata, executor="work"),
                )
                for item in stored
            ]
            return side.storage.update(changed, where.status == status)

        self.do(write)

    @rule(some=names, status=statuses, limit=st.integers(0, 2), descending=st.booleans())
    def delete(self, some: list[str], status: TaskStatus, limit: int, descending: bool) -> None:
        conditions = [where.metadata_id.in_(some), where.status == status, where.limit(limit)]
        conditions += [where.task_id_desc()] if descending else []
        self.do(lambda side: side.storage.delete(*conditions))

    @rule(success=st.sampled_from([0, 30_000]), failure=st.sampled_from([0, 90_000]))
    def prune(self, success: int, failure: int) -> None:
        self.do(lambda side: side.storage.prune(0, 100, success, failure).deleted)

    # -- scheduler side ------------------------------------------------------------------------

    @rule(limit=st.integers(0, 4))
    def promote(self, limit: int) -> None:
        self.do(lambda side: side.storage.promote_due(limit))

    @rule(
        some=names,
        runner=one_runner,
        belief=beliefs,
        stale=beliefs,
        by_hand=st.booleans(),
        limits=st.lists(
            st.builds(ExecutorLimit, st.sampled_from(["work", "0000000007"]), st.integers(0, 3)),
            max_size=2,
        ),
    )
    def allocate(self, some, runner, belief, stale, by_hand, limits) -> None:
        generation = self.generation(runner, stale)
        known = [(name, self.epoch(name, belief)) for name in dict.fromkeys(some)]
        self.do(
            lambda side: side.storage.allocate_many(
                [Allocation(side.id_of(name), epoch, runner, generation) for name, epoch in known],
                None if by_hand else self.leadership,
                limits,
            )
        )

    @rule(holder=st.sampled_from(["one", "two"]))
    def acquire(self, holder: str) -> None:
        held = self.do(lambda side: side.storage.acquire_lease("leader", holder, 60_000))
        self.leadership = held or self.leadership

    @rule()
    def renew_lease(self) -> None:
        self.do(lambda side: side.storage.renew_lease(self.leadership, 60_000))

    @rule()
    def release_lease(self) -> None:
        self.do(lambda side: side.storage.release_lease(self.leadership))

    # -- worker side ---------------------------------------------------------------------------

    @rule(runner=one_runner, some=names, belief=beliefs, result=results)
    def complete(self, runner, some, belief, result) -> None:
        tasks = self.epochs(some, belief)
        self.do(
            lambda side: side.storage.complete_many(
                runner,
                [Completion(item.task_id, item.epoch, result, 7, "trace") for item in tasks(side)],
            )
        )

    @rule(
        runner=one_runner,
        some=names,
        belief=beliefs,
        delay_ms=st.sampled_from([0, 2000]),
        outcome=st.sampled_from([AttemptOutcome.FAILED, AttemptOutcome.TIMED_OUT]),
    )
    def retry(self, runner, some, belief, delay_ms, outcome) -> None:
        tasks = self.epochs(some, belief)
        self.do(
            lambda side: side.storage.retry_many(
                runner,
                [
                    RetryRequest(item.task_id, item.epoch, delay_ms, "boom", "", 7, int(outcome))
                    for item in tasks(side)
                ],
            )
        )

    @rule(runner=one_runner, some=names, belief=beliefs)
    def release(self, runner, some, belief) -> None:
        tasks = self.epochs(some, belief)
        self.do(lambda side: side.storage.release_many(runner, tasks(side), "drain"))

    @rule(runner=one_runner, stale=beliefs)
    def release_unstarted(self, runner, stale) -> None:
        generation = self.generation(runner, stale)
        self.do(lambda side: side.storage.release_unstarted(runner, generation, "drain"))

    @rule(runner=one_runner, some=names, belief=beliefs)
    def mark_started(self, runner, some, belief) -> None:
        tasks = self.epochs(some, belief)
        self.do(lambda side: side.storage.mark_started(runner, tasks(side)))

    @rule(runner=one_runner, some=names, belief=beliefs)
    def heartbeat(self, runner, some, belief) -> None:
        tasks = self.epochs(some, belief)
        self.do(lambda side: side.storage.heartbeat_many(runner, tasks(side)))

    @rule(runner=one_runner, name=st.sampled_from(NAMES), belief=beliefs)
    def save_progress(self, runner, name, belief) -> None:
        tasks = self.epochs([name], belief)
        self.do(lambda side: side.storage.save_progress(runner, tasks(side)[0], b"half"))

    # -- operators -----------------------------------------------------------------------------

    @rule(some=names)
    def cancel(self, some: list[str]) -> None:
        self.do(lambda side: side.storage.cancel_many([side.id_of(name) for name in some]))

    @rule(some=names)
    def requeue(self, some: list[str]) -> None:
        self.do(lambda side: side.storage.requeue_many([side.id_of(name) for name in some]))

    # -- runners -------------------------------------------------------------------------------

    @rule(runner=registered, holder=st.sampled_from(["one", "two"]), crashes=st.integers(0, 3))
    def register(self, runner: str, holder: str, crashes: int) -> None:
        record = RunnerRecord(id=runner, holder=holder, labels={"zone": "a"}, cpu=0.5)
        self.do(lambda side: side.storage.register_runner(record, LEASE_MS, crashes))

    @rule(stale=beliefs)
    def renew_runners(self, stale: int) -> None:
        renewals = [Renewal(name, self.generation(name, stale)) for name in RUNNERS]
        self.do(lambda side: side.storage.renew_runners(renewals, LEASE_MS))

    @rule(runner=registered, stale=beliefs, state=st.sampled_from(RunnerState))
    def set_runner_state(self, runner, stale, state) -> None:
        generation = self.generation(runner, stale)
        self.do(lambda side: side.storage.set_runner_state(runner, generation, state))

    @rule(runner=registered, stale=beliefs, some=names, crashes=st.integers(0, 2))
    def report_dead(self, runner, stale, some, crashes) -> None:
        generation = self.generation(runner, stale)
        tasks = self.epochs(some, 0)
        self.do(lambda side: side.storage.report_dead(runner, generation, tasks(side), crashes))

    @rule(runner=registered, stale=beliefs, crashes=st.integers(0, 2))
    def fence_lapsed(self, runner, stale, crashes) -> None:
        generation = self.generation(runner, stale)
        self.do(
            lambda side: side.storage.fence_lapsed(self.leadership, runner, generation, crashes)
        )

    @rule(
        runner=one_runner,
        crashes=st.integers(0, 2),
        silent_ms=st.sampled_from([0, 10_000]),
        spared=names,
    )
    def rescue_orphans(self, runner, crashes, silent_ms, spared) -> None:
        self.do(
            lambda side: side.storage.rescue_orphans(
                self.leadership, runner, crashes, silent_ms, [side.id_of(name) for name in spared]
            )
        )

    @rule(runner=one_runner, some=names, belief=beliefs)
    def absolve(self, runner, some, belief) -> None:
        tasks = self.epochs(some, belief)
        self.do(lambda side: side.storage.absolve(runner, tasks(side)))

    @rule(stopped_for_ms=st.sampled_from([0, 10_000]))
    def forget_runners(self, stopped_for_ms: int) -> None:
        self.do(lambda side: side.storage.forget_runners(stopped_for_ms))

    # -- cron ----------------------------------------------------------------------------------

    def cron(self, name: str, in_ms: int, **fields: Any) -> CronTask:
        next_time = self.clock.now_ms() + in_ms
        task = TaskMetadata(name, "work", b"", TaskOptions(priority=1))
        return CronTask(metadata=task, cron_expr="* * * * *", next_time=next_time, **fields)

    @rule(name=st.sampled_from(CRONS), in_ms=st.sampled_from([0, 3000]), paused=st.booleans())
    def add_cron(self, name: str, in_ms: int, paused: bool) -> None:
        definition = self.cron(name, in_ms, paused=paused)
        self.do(lambda side: side.storage.add_cron_task(definition))

    @rule(
        name=st.sampled_from(CRONS),
        in_ms=st.sampled_from([0, 3000]),
        paused=st.booleans(),
        version=st.integers(0, 3),
    )
    def edit_cron(self, name: str, in_ms: int, paused: bool, version: int) -> None:
        definition = self.cron(name, in_ms, paused=paused, version=version, timezone="Asia/Tokyo")
        self.do(lambda side: side.storage.edit_cron_task(definition))

    @rule(name=st.sampled_from(CRONS))
    def delete_cron(self, name: str) -> None:
        self.do(lambda side: side.storage.delete_cron_task(name))

    @rule(belief=beliefs, turns=st.integers(1, 2))
    def trigger(self, belief: int, turns: int) -> None:
        triggers = []
        for item in self.pair.model.query_cron_task() * turns:
            times = max(0, item.trigger_times + belief)
            task = replace(item.metadata, id=firing_id(item.metadata.id, times + 1))
            triggers.append(
                Trigger(replace(item, trigger_times=times), item.next_time + 60_000, NewTask(task))
            )
        self.do(lambda side: side.storage.trigger_many(triggers))

    @rule(belief=beliefs)
    def trigger_as_the_reference(self, belief: int) -> None:
        for item in self.pair.model.query_cron_task():
            times = max(1, item.trigger_times + 1 + belief)
            following = replace(item, trigger_times=times, next_time=item.next_time + 60_000)
            task = row(firing_id(item.metadata.id, times), parent_task_id=item.metadata.id)
            self.do(partial(_update_cron_task, following, task))


def _update_cron_task(following: CronTask, task: AsyncTask, side: Side) -> int:
    return side.storage.update_cron_task(following, task)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SQL_BACKENDS)
def test_a_sql_storage_behaves_as_memory_does(request, name):
    backend = MAKERS[name](request)

    def open_subject(clock: ManualClock) -> TaskStorage:
        backend.empty()
        return backend.open(clock)

    class Compared(Comparison):
        pass

    Compared.open_subject = staticmethod(open_subject)
    run_state_machine_as_test(
        Compared,
        settings=settings(
            max_examples=EXAMPLES[name],
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
