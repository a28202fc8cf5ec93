"""M11, M16: executors that outlive a timeout or a cancellation, whatever they do meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from queue import SimpleQueue
from typing import Any

import pytest

from mqtasks.errors import TaskAborted
from mqtasks.events import bus
from mqtasks.model import AttemptOutcome, ResultCode, TaskMetadata, TaskOptions, TaskStatus
from mqtasks.service import TaskService
from mqtasks.storage.memory import MemoryTaskStorage
from mqtasks.worker import RunnerOptions, TaskRunner
from mqtasks.worker.held import Cancel

LIMIT = 0.15
GRACE = 0.1
PATIENCE = 0.3
WAIT = 20
SLACK = 2.0
"""Seconds that a slow machine may take on top; without it each end comes within 1 s."""


class Bench:
    """A real runner on memory storage; ``ends`` counts committed ends and retries."""

    def __init__(self, **options) -> None:
        self.service = TaskService(MemoryTaskStorage())
        self.storage = self.service.storage
        options = {"parallelism": 1, "abort_timeout": GRACE, "cancel_timeout": PATIENCE} | options
        lease: dict[str, Any] = {"heartbeat_interval": 0.3, "heartbeat_timeout": 6.0}
        self.runner = TaskRunner("r", self.service, RunnerOptions(**lease, **options))
        self.release = threading.Event()
        self.begun: SimpleQueue[None] = SimpleQueue()  # whose put is one step
        self.back = threading.Event()
        self._ends = threading.Semaphore(0)
        self._forget = [
            bus.subscribe(name, lambda *_: self._ends.release())
            for name in ("task.finished", "task.retried")
        ]

    def register(self, code, executor):
        self.runner.register_executor(code, executor)

    def give(self, code, **options):
        name = f"{code}-{len(self.storage.query())}"
        task_id = self.service.create(TaskMetadata(name, code, b"", TaskOptions(**options)))
        self.service.allocate(self.service.get(task_id), "r")
        return task_id

    def end(self):
        assert self._ends.acquire(timeout=WAIT)

    def run(self, code, **options):
        """Run a task to its end; return it as stored, its last attempt, and how long it took."""
        began = time.monotonic()
        task_id = self.give(code, **options)
        self.end()
        took = time.monotonic() - began
        attempts = self.storage.attempts(task_id)
        return self.service.get(task_id), attempts[-1] if attempts else None, took

    @property
    def escalation(self):
        assert self.runner._parts is not None
        return self.runner._parts.escalation

    def close(self):
        self.release.set()
        self.runner.stop(0)
        for forget in self._forget:
            forget()
        self.service.close()


@pytest.fixture
def bench(request):
    with contextlib.closing(Bench(**getattr(request, "param", {}))) as made:
        yield made


def test_m11_an_executor_that_looks_ends_at_once(bench):
    def polite(ctx, _task):
        ctx.wait_cancelled(WAIT)
        ctx.check()

    bench.register("polite", polite)
    bench.runner.start()
    task, attempt, took = bench.run("polite", timeout=LIMIT)
    assert (task.execute_result.code, attempt.outcome) == (
        ResultCode.FAILED,
        AttemptOutcome.TIMED_OUT,
    )
    assert LIMIT <= took < LIMIT + SLACK
    assert "in polite" in attempt.traceback
    assert bench.escalation.abandoned_total == 0


def test_m11_a_loop_that_never_looks_is_broken_off_where_it_is(bench):
    seen = []

    def endless(_ctx, _task):
        try:
            while not bench.release.is_set():
                with contextlib.suppress(Exception):
                    sum(range(100))
        except TaskAborted:
            seen.append("aborted")
            raise

    def quick(_ctx, _task):
        return threading.get_ident()

    bench.register("endless", endless)
    bench.register("quick", quick)
    bench.runner.start()
    task, attempt, took = bench.run("endless", timeout=LIMIT, max_retry_times=1)
    assert task.status is TaskStatus.SCHEDULED  # it counts as one failed attempt
    assert (task.attempt, attempt.outcome) == (1, AttemptOutcome.TIMED_OUT)
    assert attempt.error == f"timed out after {LIMIT} s"
    # Where it was when its time was over, and where it was broken off.
    assert attempt.traceback.startswith("When its time was over")
    assert attempt.traceback.count("in endless") == 2
    assert "TaskAborted" in attempt.traceback
    assert seen == ["aborted"]
    assert LIMIT + GRACE <= took < LIMIT + GRACE + SLACK
    for _ in range(3):  # the same thread goes on, and nothing of it is left there
        task, _, _ = bench.run("quick")
        assert task.execute_result.code is ResultCode.SUCCESS
    assert bench.escalation.lost == 0


def test_m11_a_call_that_never_returns_is_reported_without_it(bench):
    """Ten times its timeout in one call: no exception gets in, so its thread is left to it."""

    def stuck(_ctx, _task):
        bench.release.wait(WAIT)
        bench.back.set()
        return "late"

    bench.register("stuck", stuck)
    bench.register("quick", lambda _ctx, _task: None)
    bench.runner.start()
    task, attempt, took = bench.run("stuck", timeout=LIMIT, max_retry_times=1)
    assert (task.status, task.attempt) == (TaskStatus.SCHEDULED, 1)
    assert attempt.outcome == AttemptOutcome.TIMED_OUT
    assert "does not give up" in attempt.error
    assert "in stuck" in attempt.traceback
    assert "release.wait" in attempt.traceback
    assert took < LIMIT + 2 * GRACE + SLACK
    assert (bench.escalation.lost, bench.escalation.abandoned_total) == (1, 1)
    quick, _, _ = bench.run("quick")  # its slot, the only one, is free again
    assert quick.execute_result.code is ResultCode.SUCCESS
    thread = next(t for t in threading.enumerate() if t.name == "mqtasks-executor-0")
    bench.release.set()
    thread.join(WAIT)
    assert not thread.is_alive()
    assert bench.escalation.lost == 0
    assert bench.service.get(task.id) == task  # what it did in the end counts for nothing
    assert len(bench.storage.attempts(task.id)) == 1


def test_m11_whoever_swallows_the_abortion_is_left_behind(bench):
    def deaf(_ctx, _task):
        with contextlib.suppress(BaseException):
            while not bench.release.is_set():
                sum(range(100))
        while not bench.release.is_set():
            sum(range(100))

    bench.register("deaf", deaf)
    bench.runner.start()
    task, attempt, took = bench.run("deaf", timeout=LIMIT)
    assert (task.execute_result.code, attempt.outcome) == (
        ResultCode.FAILED,
        AttemptOutcome.TIMED_OUT,
    )
    assert "in deaf" in attempt.traceback
    assert took < LIMIT + 2 * GRACE + SLACK
    assert bench.escalation.lost == 1


@pytest.mark.parametrize("bench", [{"cancel_timeout": 20.0}], indirect=True)
def test_an_executor_that_has_looked_gets_time_to_end_in_order(bench):
    """Not broken off in the middle of its cleanup after ``abort_timeout``."""
    done = threading.Event()

    def tidy(ctx, _task):
        assert ctx.wait_cancelled(WAIT)
        bench.release.wait(3 * GRACE)
        done.set()

    bench.register("tidy", tidy)
    bench.runner.start()
    task, attempt, _ = bench.run("tidy", timeout=LIMIT)
    assert done.is_set()
    assert attempt.outcome == AttemptOutcome.TIMED_OUT
    assert "in tidy" in attempt.traceback  # where it was at the limit, though it has returned
    assert attempt.error == f"timed out after {LIMIT} s"
    assert task.execute_result.error == f"timed out after {LIMIT} s"


def test_m16_a_cancelled_task_that_does_not_look_ends_canceled(bench):
    def endless(_ctx, _task):
        bench.begun.put(None)
        while not bench.release.is_set():
            pass

    def stuck(_ctx, _task):
        bench.begun.put(None)
        bench.release.wait(WAIT)

    bench.register("endless", endless)
    bench.register("stuck", stuck)
    bench.runner.start()
    for code, said in (("endless", "broken off"), ("stuck", "abandoned")):
        task_id = bench.give(code)
        bench.begun.get(timeout=WAIT)
        bench.service.cancel(task_id)
        bench.end()
        task = bench.service.get(task_id)
        assert task.status is TaskStatus.CANCELED
        (attempt,) = bench.storage.attempts(task_id)
        assert attempt.outcome == AttemptOutcome.CANCELED
        assert said in attempt.error
        assert f"in {code}" in attempt.traceback


def test_a_coroutine_is_cancelled_at_once(bench):
    async def sleeper(_ctx, _task):
        await asyncio.sleep(WAIT)

    bench.register("sleeper", sleeper)
    bench.runner.start()
    _, attempt, took = bench.run("sleeper", timeout=LIMIT)
    assert attempt.outcome == AttemptOutcome.TIMED_OUT
    assert "in sleeper" in attempt.traceback.partition("Traceback")[0]
    assert took < LIMIT + SLACK


def test_a_coroutine_that_swallows_its_cancellation_is_left_behind(bench):
    async def deaf(_ctx, _task):
        while not bench.release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.05)
        bench.back.set()
        return "late"

    async def quick(_ctx, _task):
        return None

    bench.register("deaf", deaf)
    bench.register("quick", quick)
    bench.runner.start()
    task, attempt, took = bench.run("deaf", timeout=LIMIT, max_retry_times=1)
    assert (task.status, attempt.outcome) == (TaskStatus.SCHEDULED, AttemptOutcome.TIMED_OUT)
    assert "does not give up" in attempt.error
    assert "in deaf" in attempt.traceback
    assert took < LIMIT + PATIENCE + GRACE + SLACK
    quick_task, _, _ = bench.run("quick")
    assert quick_task.execute_result.code is ResultCode.SUCCESS
    bench.release.set()
    assert bench.back.wait(WAIT)
    bench.run("quick")
    assert bench.service.get(task.id) == task


@pytest.mark.parametrize("bench", [{"parallelism": 3}], indirect=True)
def test_a_blocked_event_loop_is_replaced_and_its_neighbours_survive(bench):
    go = []

    async def neighbour(_ctx, _task):
        go.append((asyncio.get_running_loop(), asyncio.Event()))
        bench.begun.put(None)
        await go[0][1].wait()
        return "fine"

    async def blocking(_ctx, _task):
        bench.release.wait(WAIT)

    async def quick(_ctx, _task):
        return None

    for code, executor in (("neighbour", neighbour), ("blocking", blocking), ("quick", quick)):
        bench.register(code, executor)
    bench.runner.start()
    beside = bench.give("neighbour")
    bench.begun.get(timeout=WAIT)
    task, attempt, took = bench.run("blocking", timeout=LIMIT)
    assert (task.execute_result.code, attempt.outcome) == (
        ResultCode.FAILED,
        AttemptOutcome.TIMED_OUT,
    )
    assert "in blocking" in attempt.traceback
    assert "release.wait" in attempt.traceback
    assert took < LIMIT + 2 * GRACE + SLACK
    quick_task, _, _ = bench.run("quick")  # on the new loop
    assert quick_task.execute_result.code is ResultCode.SUCCESS
    assert bench.escalation.lost == 1
    (left,) = bench.runner._parts.event_loop._left
    bench.release.set()
    loop, event = go[0]
    loop.call_soon_threadsafe(event.set)
    bench.end()
    assert bench.service.get(beside).execute_result.value == b'j"fine"'
    left.join(WAIT)
    assert not left.is_alive()
    assert bench.escalation.lost == 0


@pytest.mark.parametrize("bench", [{"parallelism": 2}], indirect=True)
def test_it_is_told_when_as_many_threads_are_lost_as_there_are_slots(bench):
    told = threading.Event()
    bench.register("stuck", lambda _ctx, _task: bench.release.wait(WAIT))
    bench.runner.start()
    bench.runner._parts.on_exhausted = told.set
    bench.run("stuck", timeout=LIMIT)
    assert not told.is_set()
    bench.run("stuck", timeout=LIMIT)
    assert told.wait(WAIT)


def test_a_stuck_task_whose_lease_has_lapsed_is_abandoned_once_it_is_lost(bench):
    """While the lease has only lapsed it may still win; when the task is known to be lost, not."""
    abandoned = threading.Event()
    forget = bus.subscribe("task.abandoned", lambda *_: abandoned.set())

    def stuck(_ctx, _task):
        bench.begun.put(None)
        bench.release.wait(WAIT)

    bench.register("stuck", stuck)
    bench.register("quick", lambda _ctx, _task: None)
    bench.runner.start()
    bench.give("stuck")
    bench.begun.get(timeout=WAIT)
    parts = bench.runner._parts
    (held,) = parts.dispatcher.running()
    assert parts.canceller.cancel(held, Cancel.LEASE)
    assert bench.escalation.run_once() == float("inf")  # nobody hunts it
    assert not parts.canceller.cancel(held, Cancel.SHUTDOWN)
    assert held.cancel_reason == Cancel.LEASE
    assert not parts.canceller.cancel(held, Cancel.REASSIGNED)
    assert abandoned.wait(WAIT)
    forget()
    bench.run("quick")  # in the only slot


@pytest.mark.parametrize("how", ["timeout", "canceled"])
def test_a_task_that_went_on_through_a_lapsed_lease_gives_its_slot_back(bench, how):
    """The lease was renewed in time after all, so that nobody else ever ends the task."""

    def stuck(_ctx, _task):
        bench.begun.put(None)
        bench.release.wait(WAIT)

    bench.register("stuck", stuck)
    bench.register("quick", lambda _ctx, _task: None)
    bench.runner.start()
    task_id = bench.give("stuck", timeout=0.5 if how == "timeout" else 0.0)
    bench.begun.get(timeout=WAIT)
    (held,) = bench.runner._parts.dispatcher.running()
    assert bench.runner._parts.canceller.cancel(held, Cancel.LEASE)
    if how == "canceled":
        bench.service.cancel(task_id)
    bench.end()
    if how == "timeout":
        assert bench.storage.attempts(task_id)[-1].outcome == AttemptOutcome.TIMED_OUT
    else:
        assert bench.service.get(task_id).status is TaskStatus.CANCELED
    bench.run("quick")  # in the only slot


def test_a_task_that_ends_by_itself_in_time_costs_nothing_later(bench):
    bench.register("quick", lambda _ctx, _task: None)
    bench.runner.start()
    for _ in range(5):
        task, attempt, _ = bench.run("quick", timeout=LIMIT)
        assert attempt is None
        assert task.execute_result.code is ResultCode.SUCCESS
    assert bench.escalation.abandoned_total == 0


def test_m16_a_cancellation_that_no_hint_tells_of_is_seen_within_a_heartbeat(bench):
    """The row alone says so; and CANCELED stands against a success that comes late."""
    seen = []

    def work(ctx, _task):
        bench.begun.put(None)
        asked = time.monotonic()
        assert ctx.wait_cancelled(WAIT)
        seen.append((time.monotonic() - asked, ctx.cancel_reason))
        return "late"

    bench.register("work", work)
    bench.runner.start()
    task_id = bench.give("work")
    bench.begun.get(timeout=WAIT)
    assert bench.storage.cancel_many([task_id]).requested == ((task_id, "r"),)
    bench.end()
    assert bench.service.get(task_id).status is TaskStatus.CANCELED
    ((took, reason),) = seen
    assert reason == "canceled"
    assert took < bench.runner.options.heartbeat_interval + SLACK
    assert [a.outcome for a in bench.storage.attempts(task_id)] == [AttemptOutcome.CANCELED]
